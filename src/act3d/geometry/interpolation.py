"""Carrying features from a few places to many."""

import torch

from act3d.errors import InputError
from act3d.geometry.checks import check_points
from act3d.geometry.gathering import gather
from act3d.geometry.neighbors import knn


def interpolate(query: torch.Tensor, centers: torch.Tensor, features: torch.Tensor, k: int = 3) -> torch.Tensor:
    """Features at `query`: those of the k nearest centers, weighted by inverse squared distance (PointNet++, eq. 2).

    Args:
        query: Tensor with shape (B, N, 3).
        centers: Tensor with shape (B, G, 3), same unit.
        features: Tensor with shape (B, G, C).
        k: Neighbours to mix; all of them if there are fewer.

    Returns:
        Tensor with shape (B, N, C), differentiable in all three tensors.

    Raises:
        InputError: Wrong shapes, empty or non-finite clouds.
    """
    check_points(query, "query")
    check_points(centers, "centers")
    if features.ndim != 3 or features.shape[:2] != centers.shape[:2]:
        raise InputError(f"features {tuple(features.shape)} do not fit centers {tuple(centers.shape)}")
    nearest = knn(query, centers, min(k, centers.shape[1]))  # (B, N, k)
    squared = (gather(centers, nearest) - query.unsqueeze(2)).square().sum(3)
    weights = 1 / (squared + 1e-8)
    weights = weights / weights.sum(dim=2, keepdim=True)
    return torch.einsum("bnk,bnkc->bnc", weights.to(features.dtype), gather(features, nearest))

"""Interpolation of features from a few points to many."""

import torch
import torch.nn.functional as F

from act3d.errors import InputError
from act3d.geometry.checks import check_points
from act3d.geometry.gathering import gather
from act3d.geometry.neighbors import knn
from act3d.kernels.dispatch import exporting


def interpolate(query: torch.Tensor, centers: torch.Tensor, features: torch.Tensor, k: int = 3) -> torch.Tensor:
    """Features at `query`: mean of those of the k nearest centers, weighted by inverse squared distance.

    (PointNet++, Qi et al., 2017, equation 2.)

    Args:
        query: Tensor with shape (B, N, 3).
        centers: Tensor with shape (B, G, 3), same unit.
        features: Tensor with shape (B, G, C).
        k: Number of centers to mix; all of them if there are fewer.

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
    weights = (weights / weights.sum(dim=2, keepdim=True)).to(features.dtype)
    if exporting():  # exporters support sums of gathered rows better than bags
        return torch.einsum("bnk,bnkc->bnc", weights, gather(features, nearest))
    # A bag is the weighted sum of some rows of a table: no (B, N, k, C) in between.
    (batch, number, k), (_, rows, width) = nearest.shape, features.shape
    places = nearest + rows * torch.arange(batch, device=nearest.device).view(-1, 1, 1)
    bags = F.embedding_bag(
        places.view(-1, k), features.reshape(-1, width), per_sample_weights=weights.view(-1, k), mode="sum"
    )
    return bags.view(batch, number, width)

"""Cutting a cloud into patches: centers by farthest point sampling, and the points nearest to each."""

from typing import NamedTuple

import torch

from act3d.geometry.checks import check_count, check_points
from act3d.geometry.gathering import gather
from act3d.geometry.neighbors import knn
from act3d.geometry.sampling import farthest_point_sample
from act3d.kernels.dispatch import run_triton


class Patches(NamedTuple):
    """A cloud as G patches of M points.

    neighborhoods: Tensor with shape (B, G, M, 3), coordinates relative to the patch's center, nearest first.
    centers: Tensor with shape (B, G, 3), in the cloud's coordinates.
    """

    neighborhoods: torch.Tensor
    centers: torch.Tensor


def patchify(
    points: torch.Tensor, patches: int, patch_size: int, start: int = 0, beside: torch.Tensor | None = None
) -> Patches:
    """Cut each cloud into `patches` overlapping patches of `patch_size` points (ACT, section 3).

    Args:
        points: Tensor with shape (B, N, 3).
        patches: G, the number of centers, taken by farthest point sampling; at most N.
        patch_size: M, the points nearest to each center, which is one of them; at most N.
        start: Index of the first center in every cloud.
        beside: Tensor with shape (B, N, F), what points have beside their coordinates; None for nothing.

    Returns:
        Patches with (B, G, M, 3) neighborhoods, or (B, G, M, 3 + F), and (B, G, 3) centers.

    Raises:
        InputError: Wrong shape, empty or non-finite cloud, fewer points than patches or than a patch holds.
    """
    check_points(points)
    check_count(patches, points.shape[1], "patches", f"points of shape {tuple(points.shape)}")
    check_count(patch_size, points.shape[1], "patch_size", f"points of shape {tuple(points.shape)}")
    centers = gather(points, farthest_point_sample(points, patches, start))
    if beside is not None:
        near = knn(centers, points, patch_size)
        return Patches(torch.cat([gather(points, near) - centers.unsqueeze(2), gather(beside, near)], dim=3), centers)
    if not points.requires_grad:  # the kernel gathers and subtracts too, but passes no gradient on
        found = run_triton("knn", centers, points, patch_size, True, held=points.shape[1])
        if found is not None:
            return Patches(found[1], centers)
    neighborhoods = gather(points, knn(centers, points, patch_size)) - centers.unsqueeze(2)
    return Patches(neighborhoods, centers)

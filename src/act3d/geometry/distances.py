"""Distances between two sets of points."""

from typing import Literal

import torch

from act3d.errors import InputError
from act3d.geometry.checks import check_points
from act3d.geometry.gathering import gather
from act3d.geometry.precision import without_autocast
from act3d.kernels.dispatch import kernels_for


@torch.no_grad()
def _nearest(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each point of one set the index of the nearest in the other, both ways: (B, N) and (B, M)."""
    middle = b.mean(dim=1, keepdim=True)
    a, b = a - middle, b - middle
    with without_autocast(a):
        squared = torch.baddbmm(b.square().sum(2).unsqueeze(1), a, b.transpose(1, 2), alpha=-2)
    squared += a.square().sum(2).unsqueeze(2)
    return squared.argmin(dim=2), squared.argmin(dim=1)


def _checked(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sets in one precision, the higher of the two and at least float32."""
    check_points(a, "a")
    check_points(b, "b")
    if a.shape[0] != b.shape[0]:
        raise InputError(f"a {tuple(a.shape)} and b {tuple(b.shape)} differ in batch size")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _directed(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences to the nearest point, both ways: (B, N, 3) and (B, M, 3)."""
    # Which point is nearest does not depend on the gradient: search without autograd, then take differences.
    to_b, to_a = _nearest(a.detach(), b.detach())
    return a - gather(b, to_b), b - gather(a, to_a)


def chamfer(
    a: torch.Tensor, b: torch.Tensor, norm: Literal[1, 2] = 1, reduction: Literal["mean", "none"] = "mean"
) -> torch.Tensor:
    """Chamfer distance between two sets of points.

    norm 1: mean of the two directed means of the Euclidean nearest distance. norm 2: sum of the two directed
    means of its square. In the clouds' unit (squared for norm 2); papers report it x 1000. Half precision is raised
    to float32.

    Args:
        a: Tensor with shape (B, N, 3).
        b: Tensor with shape (B, M, 3).
        norm: 1 or 2.
        reduction: "mean" over the batch, or "none".

    Returns:
        Scalar Tensor, or (B,) for "none"; differentiable in both sets (zero gradient where points coincide).

    Raises:
        InputError: Wrong shapes, empty or non-finite sets, another norm or reduction.
    """
    if norm not in (1, 2) or reduction not in ("mean", "none"):
        raise InputError(f"norm = {norm!r}, reduction = {reduction!r}; allowed are 1, 2 and 'mean', 'none'")
    a, b = _checked(a, b)
    kernels = kernels_for(a, b)
    if kernels is not None and max(a.shape[1], b.shape[1]) <= kernels.LARGEST_SET:
        distance = kernels.chamfer(a, b, norm)
        return distance.mean() if reduction == "mean" else distance
    from_a, from_b = _directed(a, b)
    if norm == 1:
        distance = (
            torch.linalg.vector_norm(from_a, dim=2).mean(1) + torch.linalg.vector_norm(from_b, dim=2).mean(1)
        ) / 2
    else:
        distance = from_a.square().sum(2).mean(1) + from_b.square().sum(2).mean(1)
    return distance.mean() if reduction == "mean" else distance


@torch.no_grad()
def f_score(a: torch.Tensor, b: torch.Tensor, threshold: float = 0.01) -> torch.Tensor:
    """Harmonic mean of precision and recall of `a` against `b` at a distance (Tatarchenko et al., 2019).

    Args:
        a: Reconstruction, Tensor with shape (B, N, 3).
        b: Truth, Tensor with shape (B, M, 3).
        threshold: Distance below which a point counts as found, in the clouds' unit.

    Returns:
        Tensor with shape (B,), 0 to 1.

    Raises:
        InputError: Wrong shapes, empty or non-finite sets.
    """
    a, b = _checked(a, b)
    from_a, from_b = _directed(a, b)
    precision = (torch.linalg.vector_norm(from_a, dim=2) < threshold).to(a.dtype).mean(1)
    recall = (torch.linalg.vector_norm(from_b, dim=2) < threshold).to(a.dtype).mean(1)
    return 2 * precision * recall / (precision + recall).clamp_min(torch.finfo(a.dtype).tiny)

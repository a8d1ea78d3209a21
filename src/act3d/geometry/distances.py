"""Distances between two sets of points: Chamfer distance and F-score."""

from typing import Literal

import torch

from act3d.errors import InputError
from act3d.geometry.checks import check_points
from act3d.geometry.gathering import gather
from act3d.geometry.precision import without_autocast
from act3d.kernels.dispatch import run_triton


@torch.no_grad()
def _nearest(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of the nearest point of the other set, both ways: (B, N) into b and (B, M) into a."""
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


def _to_nearest(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Difference of each point and the nearest of the other set, both ways: (B, N, 3) and (B, M, 3)."""
    # Which point is nearest does not depend on the gradient: search without autograd, then take differences.
    to_b, to_a = _nearest(a.detach(), b.detach())
    return a - gather(b, to_b), b - gather(a, to_a)


def chamfer(
    a: torch.Tensor, b: torch.Tensor, norm: Literal[1, 2] = 1, reduction: Literal["mean", "none"] = "mean"
) -> torch.Tensor:
    """Chamfer distance between two sets of points (Fan et al., 2017).

    norm 1: the Euclidean distance to the nearest point, mean over each set, then mean of both directions. norm 2: its
    square, mean over each set, then sum of both directions. In the clouds' unit (squared for norm 2); papers report it
    x 1000. Half precision is raised to float32.

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
    distance: torch.Tensor | None = run_triton("chamfer", a, b, norm, held=max(a.shape[1], b.shape[1]))
    if distance is None:
        distance = _chamfer(a, b, norm)
    return distance.mean() if reduction == "mean" else distance


def _chamfer(a: torch.Tensor, b: torch.Tensor, norm: Literal[1, 2]) -> torch.Tensor:
    """Chamfer distances (B,) by PyTorch."""
    from_a, from_b = _to_nearest(a, b)
    if norm == 2:
        return from_a.square().sum(2).mean(1) + from_b.square().sum(2).mean(1)
    return (torch.linalg.vector_norm(from_a, dim=2).mean(1) + torch.linalg.vector_norm(from_b, dim=2).mean(1)) / 2


@torch.no_grad()
def f_score(a: torch.Tensor, b: torch.Tensor, threshold: float = 0.01) -> torch.Tensor:
    """F-score of a reconstruction: harmonic mean of precision and recall at a distance (Tatarchenko et al., 2019).

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
    from_a, from_b = _to_nearest(a, b)
    precision = (torch.linalg.vector_norm(from_a, dim=2) < threshold).to(a.dtype).mean(1)
    recall = (torch.linalg.vector_norm(from_b, dim=2) < threshold).to(a.dtype).mean(1)
    return 2 * precision * recall / (precision + recall).clamp_min(torch.finfo(a.dtype).tiny)

"""Distances between two sets of points: Chamfer distance and F-score."""

from typing import Literal

import torch

from act3d.errors import InputError
from act3d.geometry.checks import check_points
from act3d.geometry.gathering import gather
from act3d.geometry.precision import without_autocast
from act3d.kernels.dispatch import prefers_numpy_argmin, run_triton


@torch.no_grad()
def _nearest(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of the nearest point of the other set, both ways: (B, N) into b and (B, M) into a."""
    middle = b.mean(dim=1, keepdim=True)
    a, b = a - middle, b - middle
    with without_autocast(a):
        squared = torch.baddbmm(b.square().sum(2).unsqueeze(1), a, b.transpose(1, 2), alpha=-2)
    squared += a.square().sum(2).unsqueeze(2)
    return _argmin(squared, 2), _argmin(squared, 1)


def _argmin(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Index of the first smallest along an axis of values (B, N, M)."""
    if prefers_numpy_argmin(values, dim):
        return torch.from_numpy(values.numpy().argmin(axis=dim))
    return values.argmin(dim=dim)


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
    return _mean_distances(*_to_nearest(a, b), norm)


def _mean_distances(from_a: torch.Tensor, from_b: torch.Tensor, norm: Literal[1, 2]) -> torch.Tensor:
    """Chamfer distances (B,) of differences to the nearest points (B, N, 3) and (B, M, 3)."""
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
    return _harmonic_mean(*_to_nearest(*_checked(a, b)), threshold)


@torch.no_grad()
def reconstruction_scores(a: torch.Tensor, b: torch.Tensor, threshold: float = 0.01) -> torch.Tensor:
    """F-score, Chamfer distance of norm 1 and of norm 2 between a reconstruction and the truth, by one search.

    Args:
        a, b, threshold: See `f_score`.

    Returns:
        Tensor with shape (B, 3).

    Raises:
        InputError: Wrong shapes, empty or non-finite sets.
    """
    from_a, from_b = _to_nearest(*_checked(a, b))
    distances = [_mean_distances(from_a, from_b, norm) for norm in (1, 2)]
    return torch.stack([_harmonic_mean(from_a, from_b, threshold), *distances], dim=1)


def _harmonic_mean(from_a: torch.Tensor, from_b: torch.Tensor, threshold: float) -> torch.Tensor:
    """Harmonic mean (B,) of the shares of differences (B, N, 3) and (B, M, 3) that are shorter than the threshold."""
    precision = (torch.linalg.vector_norm(from_a, dim=2) < threshold).to(from_a.dtype).mean(1)
    recall = (torch.linalg.vector_norm(from_b, dim=2) < threshold).to(from_a.dtype).mean(1)
    return 2 * precision * recall / (precision + recall).clamp_min(torch.finfo(from_a.dtype).tiny)

"""Farthest point sampling."""

import numpy as np
import torch

from act3d.geometry.checks import check_count, check_points
from act3d.geometry.precision import raise_half
from act3d.kernels.dispatch import numba_functions, prefers_numba, run_triton


def farthest_point_sample(points: torch.Tensor, count: int, start: int = 0) -> torch.Tensor:
    """Pick `count` points of each cloud, each the farthest from those already picked (Gonzalez, 1985).

    Equal distances go to the lower index; once every distinct place is taken, index 0 repeats. Distances are
    compared in the dtype of `points` (half precision is raised to float32).

    Args:
        points: Tensor with shape (B, N, 3), any unit.
        count: Points to pick, 1 to N.
        start: Index of the first pick in every cloud, 0 to N - 1.

    Returns:
        int64 Tensor with shape (B, count), `[:, 0] == start`.

    Raises:
        InputError: Wrong shape, empty or non-finite cloud, `count` or `start` out of range.
    """
    check_points(points)
    check_count(count, points.shape[1], "count", f"points of shape {tuple(points.shape)}")
    check_count(start + 1, points.shape[1], "start + 1", f"points of shape {tuple(points.shape)}")
    points = raise_half(points.detach())
    picked: torch.Tensor | None = run_triton("farthest_point_sample", points, count, start)
    if picked is not None:
        return picked
    if points.device.type != "cpu":
        return _sample_torch(points, count, start)
    compiled = numba_functions() if prefers_numba(points) else None
    if compiled is not None:
        threads = torch.get_num_threads()
        return torch.from_numpy(compiled.farthest_point_sample(points.numpy(), count, start, threads))
    # NumPy finds the largest of many ten times as fast as torch on such shapes.
    return torch.from_numpy(_sample_numpy(points.numpy(), count, start))


def _sample_numpy(points: np.ndarray, count: int, start: int) -> np.ndarray:
    """Sampling of all clouds at once, by NumPy: (B, N, 3) -> (B, count)."""
    batch, number, _ = points.shape
    planes = np.ascontiguousarray(points.transpose(2, 0, 1))  # (B, N, 3) -> (3, B, N)
    picked = np.empty((batch, count), dtype=np.int64)
    rows = np.arange(batch)
    nearest = np.full((batch, number), np.inf, dtype=points.dtype)
    distance, offset = np.empty_like(nearest), np.empty_like(nearest)
    last = np.full(batch, start, dtype=np.int64)
    with np.errstate(over="ignore"):
        for i in range(count):
            picked[:, i] = last
            if i + 1 == count:
                break
            for axis, plane in enumerate(planes):
                out = offset if axis else distance
                np.subtract(plane, plane[rows, last][:, None], out=out)
                np.multiply(out, out, out=out)
                if axis:
                    distance += offset
            np.minimum(nearest, distance, out=nearest)
            last = nearest.argmax(axis=1)
    return picked


def _sample_torch(points: torch.Tensor, count: int, start: int) -> torch.Tensor:
    """Sampling of all clouds at once, by PyTorch: (B, N, 3) -> (B, count)."""
    batch, number, _ = points.shape
    planes = points.permute(2, 0, 1).contiguous()  # (B, N, 3) -> (3, B, N)
    picked = torch.empty(batch, count, dtype=torch.int64, device=points.device)
    nearest = torch.full((batch, number), torch.inf, dtype=points.dtype, device=points.device)
    last = torch.full((batch, 1), start, dtype=torch.int64, device=points.device)
    for i in range(count):
        picked[:, i : i + 1] = last
        offsets = planes - planes.gather(2, last.expand(3, -1, -1))
        distance = offsets[0].square_().add_(offsets[1].square_()).add_(offsets[2].square_())
        torch.minimum(nearest, distance, out=nearest)
        last = nearest.argmax(dim=1, keepdim=True)
    return picked

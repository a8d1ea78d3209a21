# mypy: disable-error-code="no-untyped-def"
"""Farthest point sampling of large clouds on the CPU, compiled by Numba. Imported only where Numba is installed.

Points are put into groups of neighbors, each with its bounding box. Distances to a new pick are computed only for
groups whose box says that it could be nearer to one of their points than all picks before (Han et al., "QuickFPS",
TCAD 2023).
The picks are those of the plain loop: box and points are measured by the same operations in the same order, and
rounding keeps the order of numbers, so a box is never further away than a point inside it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

_GROUP = 32  # points of a group
_BITS = 5  # neighbors are found by a grid of 2 ** _BITS cells along each axis
_SPREAD = np.array([sum((cell >> bit & 1) << 3 * bit for bit in range(_BITS)) for cell in range(1 << _BITS)])


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call and kept on disk for the next process if possible."""
    # No number is NaN, and the sign of zero does not matter: so the compiler may vectorize minima and maxima.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"nnan", "nsz"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(**options)(function)


@_compiled
def _arrange(points):
    """Order (N,) of points (N, 3) along a Z-curve over a grid, in which neighbors mostly follow each other."""
    number, cells = len(points), 1 << _BITS
    code = np.zeros(number, np.int64)
    low = np.array([points[:, axis].min() for axis in range(3)])
    extent = max([points[:, axis].max() - low[axis] for axis in range(3)])
    if 0 < extent < np.inf:
        for i in range(number):
            for axis in range(3):
                cell = min(int((points[i, axis] - low[axis]) / extent * cells), cells - 1)
                code[i] |= _SPREAD[cell] << axis
    ends = np.zeros(cells**3 + 1, np.int64)
    for i in range(number):
        ends[code[i] + 1] += 1
    ends = ends.cumsum()
    order = np.empty(number, np.int64)
    for i in range(number):
        order[ends[code[i]]] = i
        ends[code[i]] += 1
    return order


@_compiled
def _outside(value, low, high):
    """Distance of a value from an interval; 0 inside."""
    return max(low - value, value - high, value - value)


@_compiled
def _sample(points, picked, start):
    """Fill `picked` (count,) with the farthest points of one cloud (N, 3)."""
    order = _arrange(points)
    number = len(order)
    x, y, z = points[:, 0][order], points[:, 1][order], points[:, 2][order]
    nearest = np.full(number, np.inf, points.dtype)
    groups = (number + _GROUP - 1) // _GROUP
    low, high = np.empty((3, groups), points.dtype), np.empty((3, groups), points.dtype)
    bound = np.empty(groups, points.dtype)
    farthest, places = np.full(groups, np.inf, points.dtype), np.empty(groups, np.int64)  # of each group
    for group in range(groups):
        first, end = group * _GROUP, min((group + 1) * _GROUP, number)
        for axis, plane in enumerate((x, y, z)):
            low[axis, group], high[axis, group] = plane[first:end].min(), plane[first:end].max()
        places[group] = first + order[first:end].argmin()
    last = start
    for i in range(len(picked)):
        picked[i] = last
        a, b, c = points[last]
        for group in range(groups):  # a loop of its own, so that the compiler vectorizes it
            dx = _outside(a, low[0, group], high[0, group])
            dy = _outside(b, low[1, group], high[1, group])
            dz = _outside(c, low[2, group], high[2, group])
            bound[group] = dx * dx + dy * dy + dz * dz
        best = a - a - 1  # -1 in the dtype of the points
        for group in range(groups):
            if bound[group] < farthest[group]:
                first, end = group * _GROUP, min((group + 1) * _GROUP, number)
                for j in range(first, end):
                    dx, dy, dz = x[j] - a, y[j] - b, z[j] - c
                    nearest[j] = min(nearest[j], dx * dx + dy * dy + dz * dz)
                most = a - a  # 0 in that dtype
                for j in range(first, end):
                    most = max(most, nearest[j])
                place = -1
                for j in range(first, end):
                    if nearest[j] == most and (place < 0 or order[j] < order[place]):
                        place = j
                farthest[group], places[group] = most, place
            if farthest[group] > best or (farthest[group] == best and order[places[group]] < last):
                best, last = farthest[group], order[places[group]]


def farthest_point_sample(points: np.ndarray, count: int, start: int, threads: int) -> np.ndarray:
    """Sampling of float32 or float64 points (B, N, 3) -> int64 (B, count), several clouds at a time."""
    picked = np.empty((len(points), count), dtype=np.int64)
    with ThreadPoolExecutor(max(1, min(threads, len(points)))) as pool:
        list(pool.map(lambda cloud, row: _sample(cloud, row, start), np.ascontiguousarray(points), picked))
    return picked

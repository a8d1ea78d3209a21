"""Nearest neighbors on the CPU: by all distances, which NumPy sorts quickly, and of many points by SciPy's k-d trees.

Both give the order of a stable sort of all squared distances, computed by differences in the points' own precision.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_PAIRS = 1 << 15  # pairs of points at a time: their distances stay in the processor's cache
_THREAD_PAIRS = 1 << 20  # pairs from which a second thread is worth its start
_PLACE = (1 << 29) - 1  # the bits of a float64 that are zero where it was a float32

Search = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def nearest(query: np.ndarray, points: np.ndarray, k: int, search: Search, threads: int = 1) -> np.ndarray:
    """Indices of the k points nearest to each query, nearest first; of equal distances the lower index first.

    Args:
        query: Array with shape (B, Q, 3).
        points: Array with shape (B, N, 3), finite, of the same type, float32 or float64.
        k: Neighbors for each query, 1 to N.
        search: `by_distances` or `by_tree`.
        threads: Clouds searched at a time.

    Returns:
        int64 Array with shape (B, Q, k).
    """
    found = np.empty((*query.shape[:2], k), dtype=np.int64)

    def one(cloud: int) -> None:
        found[cloud] = search(query[cloud], points[cloud], k)

    clouds = range(len(query))
    if min(threads, len(query)) > 1 and query.shape[1] * points.shape[1] * len(query) >= _THREAD_PAIRS:
        with ThreadPoolExecutor(min(threads, len(query))) as pool:
            list(pool.map(one, clouds))
    else:
        for cloud in clouds:
            one(cloud)
    return found


def by_distances(query: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Neighbors of one cloud by all distances: (Q, 3), (N, 3) -> (Q, k)."""
    found = np.empty((len(query), k), dtype=np.int64)
    step = max(1, _PAIRS // len(points))
    planes, places = np.ascontiguousarray(points.T), np.arange(len(points))
    with np.errstate(over="ignore"):  # distances that overflow count as equal
        for start in range(0, len(query), step):
            rows = slice(start, start + step)
            distance = _squared_distances(query[rows], planes)
            found[rows] = _first(distance, places, k)
    return found


def _squared_distances(query: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """(Q, 3) and the coordinates of points (3, N) -> (Q, N), one axis after the other."""
    distance: np.ndarray = query[:, 0, None] - planes[0]
    distance *= distance
    offset = np.empty_like(distance)
    for axis in (1, 2):
        np.subtract(query[:, axis, None], planes[axis], out=offset)
        offset *= offset
        distance += offset
    return distance


def _first(distance: np.ndarray, places: np.ndarray, k: int) -> np.ndarray:
    """The places of the k smallest of every row (Q, N), in their order: (Q, k)."""
    if distance.dtype != np.float32 or len(places) > _PLACE:
        return np.argsort(distance, axis=1, kind="stable")[:, :k]
    # A float32 leaves the lower bits of a float64 free. With the place in them, one sort of plain numbers, which NumPy
    # does by vector instructions, gives the places, and the lower one of equals first.
    keys = distance.astype(np.float64).view(np.int64)
    keys |= places
    if k < len(places):
        keys.partition(k - 1, axis=1)
    return np.sort(keys[:, :k], axis=1) & _PLACE


def by_tree(query: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Neighbors of one cloud by a k-d tree: (Q, 3), (N, 3) -> (Q, k), k < N.

    A tree measures in float64. Where two of the k + 1 nearest are nearer to each other than the points' own precision
    can tell, all distances decide.
    """
    from scipy.spatial import cKDTree

    # Cells are cut in the middle: quicker to build than balanced ones, and as quick to search.
    tree = cKDTree(points, leafsize=32, balanced_tree=False, compact_nodes=False)
    distance, found = tree.query(query, k + 1)
    precision = np.finfo(points.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        squared = distance * distance
        least = squared[:, 1:] * (64 * float(precision.eps)) + 4 * float(
            precision.tiny
        )  # what is rounded off, and more
        sure = (np.diff(squared, axis=1) > least).all(axis=1) & (squared[:, -1] < float(precision.max) / 4)
    result: np.ndarray = found[:, :k]
    unsure = np.flatnonzero(~sure)
    if len(unsure):
        result[unsure] = by_distances(query[unsure], points, k)
    return result

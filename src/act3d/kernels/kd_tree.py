"""Candidates for nearest neighbors by k-d trees of SciPy, on the CPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.spatial import cKDTree


def nearest_candidates(
    query: np.ndarray, points: np.ndarray, count: int, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The points nearest to each query, in no order that can be relied on among near equals.

    Args:
        query: Array with shape (B, Q, 3).
        points: Array with shape (B, N, 3), float32 or float64; distances are measured in float64.
        count: Candidates for each query, 2 to N.
        threads: Clouds searched at a time.

    Returns:
        int64 (B, Q, count) indices, each below N; float64 (B, Q) distances that no other point is nearer than, up to
        rounding. They are infinite where a distance overflows: indices may repeat there.
    """
    batch, number, _ = points.shape
    found = np.empty((batch, query.shape[1], count), dtype=np.int64)
    farthest = np.empty(query.shape[:2])

    def search(cloud: int) -> None:
        # Cells are cut in the middle: quicker to build than balanced ones, and as quick to search.
        tree = cKDTree(points[cloud], leafsize=32, balanced_tree=False, compact_nodes=False)
        distance, found[cloud] = tree.query(query[cloud], count)
        farthest[cloud] = distance[:, -1]

    threads = min(threads, batch)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(search, range(batch)))
    else:
        for cloud in range(batch):
            search(cloud)
    return np.minimum(found, number - 1, out=found), farthest  # SciPy gives N where it finds none

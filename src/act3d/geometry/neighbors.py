"""k nearest neighbors.

A quick search finds a few candidates more than asked for, by distances that carry rounding errors. These are measured
again by differences, as the textbook form measures all points, and sorted. Where a point outside the candidates could
still be among the nearest (ties, or near ties, beyond the spare candidates), the query is compared with all points. So
the result is that of a stable sort of all distances, by any search.
"""

import torch

from act3d.errors import InputError
from act3d.geometry.checks import check_count, check_points
from act3d.geometry.gathering import gather
from act3d.geometry.precision import raise_half, without_autocast
from act3d.kernels.dispatch import exporting, prefers_few_neighbors, prefers_kd_tree, run_triton

_SPARE = 8  # candidates more than asked for, of the search by products
_SPARE_KD_TREE = 4  # and of the search by k-d trees, which rounds less
_ENTRIES = 1 << 25  # numbers held at once (128 MB in float32)


@torch.no_grad()
def knn(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k points nearest to each query, nearest first; of equal distances the lower index first.

    (On a GPU without Triton, points whose distances differ by less than the rounding of a matrix product may be taken
    for equals where they are about the k + 8 nearest: checking that would make the host wait for the device.)

    Args:
        query: Tensor with shape (B, Q, 3).
        points: Tensor with shape (B, N, 3), same unit and device.
        k: Neighbors for each query, 1 to N.

    Returns:
        int64 Tensor with shape (B, Q, k).

    Raises:
        InputError: Wrong shape, different batch sizes, empty or non-finite cloud, k > N.
    """
    if exporting():
        return _search_traced(query, points, k)
    check_points(query, "query")
    check_points(points)
    if query.shape[0] != points.shape[0]:
        raise InputError(f"query {tuple(query.shape)} and points {tuple(points.shape)} differ in batch size")
    check_count(k, points.shape[1], "k", f"points of shape {tuple(points.shape)}")
    points = raise_half(points)
    query = query.to(points.dtype)
    found = run_triton("knn", query, points, k, held=points.shape[1])
    if found is not None:
        indices: torch.Tensor = found[0]
        return indices
    batch, number, _ = points.shape
    if prefers_few_neighbors(query, points, k):
        search, entries = _search_one_by_one, number
    elif prefers_kd_tree(query, points) and k + _SPARE_KD_TREE < number:
        search, entries = _search_kd_tree, 3 * (k + _SPARE_KD_TREE)
    else:
        search, entries = _search, number
    rows = max(1, _ENTRIES // (batch * entries))  # queries at a time
    return torch.cat([search(part, points, k) for part in query.split(rows, dim=1)], dim=1)


def _search(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbors by |q|^2 - 2 q.p + |p|^2, one matrix product a cloud: (B, Q, 3), (B, N, 3) -> (B, Q, k)."""
    number = points.shape[1]
    candidates = min(k + _SPARE, number)
    # Far from the origin the product loses digits: measure from the middle of each cloud.
    middle = points.mean(dim=1, keepdim=True)
    q, p = query - middle, points - middle
    size = p.square().sum(2).unsqueeze(1)  # (B, 1, N)
    # |q|^2 is the same for all points of a query and does not change the order.
    with without_autocast(points):
        product = torch.baddbmm(size, q, p.transpose(1, 2), alpha=-2)
    approximate, found = product.topk(candidates, largest=False, sorted=False)
    result, farthest = _nearest_of(query, points, found, k)
    if candidates < number and points.device.type == "cpu":
        own = q.square().sum(2)
        rounding = 8 * torch.finfo(q.dtype).eps * (own + size.amax(dim=2))
        sure = farthest + rounding < approximate.amax(dim=2) + own  # False also where they overflow
        _replace_unsure(result, sure, query, points, k)
    return result


def _search_kd_tree(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbors by a k-d tree a cloud, on the CPU: (B, Q, 3), (B, N, 3) -> (B, Q, k)."""
    from act3d.kernels.kd_tree import nearest_candidates

    candidates = nearest_candidates(query.numpy(), points.numpy(), k + _SPARE_KD_TREE, torch.get_num_threads())
    found, others = (torch.from_numpy(array) for array in candidates)  # no point outside is nearer than `others`
    result, farthest = _nearest_of(query, points, found, k)
    precision = torch.finfo(points.dtype)
    bound = others.square() * (1 - 64 * precision.eps) - 4 * precision.tiny  # what may be rounded off, and more
    _replace_unsure(result, bound.isfinite() & (farthest < bound), query, points, k)
    return result


def _nearest_of(
    query: torch.Tensor, points: torch.Tensor, candidates: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest of the candidates (B, Q, n), measured by differences: indices (B, Q, k); distance^2 of the last."""
    candidates = candidates.sort(dim=2).values  # so that a stable sort puts the lower of equals first
    squared = (gather(points, candidates) - query.unsqueeze(2)).square().sum(3)  # (B, Q, n)
    squared, order = squared.sort(dim=2, stable=True)
    return candidates.gather(2, order[:, :, :k]), squared[:, :, k - 1]


def _replace_unsure(
    result: torch.Tensor, sure: torch.Tensor, query: torch.Tensor, points: torch.Tensor, k: int
) -> None:
    """Search all points for the queries whose result (B, Q, k) is not `sure` (B, Q), in place."""
    unsure = ~sure
    if unsure.any():
        result[unsure] = _search_all(query, points, unsure, k)


def _search_all(query: torch.Tensor, points: torch.Tensor, rows: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbors of the queries marked in `rows` (B, Q), by a stable sort of all distances: (marked, k)."""
    clouds, places = rows.nonzero(as_tuple=True)
    step = max(1, _ENTRIES // (3 * points.shape[1]))
    parts = []
    for cloud, place in zip(clouds.split(step), places.split(step), strict=True):
        distance = (points[cloud] - query[cloud, place].unsqueeze(1)).square().sum(2)
        parts.append(distance.sort(dim=1, stable=True).indices[:, :k])
    return torch.cat(parts)


def _search_one_by_one(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbors for a small k, by all distances: the nearest, then the nearest of the others, and so on."""
    distance = _squared_distances(query, points)
    distance.clamp_(max=torch.finfo(distance.dtype).max)  # what overflowed is still nearer than what is taken
    found = []
    for _ in range(k):
        found.append(distance.argmin(dim=2, keepdim=True))  # of equals the first
        distance.scatter_(2, found[-1], torch.inf)
    return torch.cat(found, dim=2)


def _search_traced(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbors for exporters, which cannot look at values: all distances, and the runtime's top-k.

    Equals go to the lower index where that top-k does so, as ONNX prescribes.
    """
    return _squared_distances(query, points).topk(k, dim=2, largest=False, sorted=True).indices


def _squared_distances(query: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """All squared distances by differences, one axis at a time: (B, Q, N)."""
    x, y, z = (query[:, :, None, axis] - points[:, None, :, axis] for axis in range(3))  # (B, Q, N) each
    return x * x + y * y + z * z

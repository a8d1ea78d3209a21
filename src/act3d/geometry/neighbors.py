"""k nearest neighbours."""

import torch

from act3d.errors import InputError
from act3d.geometry.checks import check_count, check_points
from act3d.geometry.gathering import gather
from act3d.geometry.precision import raise_half, without_autocast
from act3d.kernels.dispatch import exporting, kernels_for

# The search runs on |q|^2 - 2 q.p + |p|^2 (one matrix product), whose rounding may swap near equals. So it takes a
# few candidates more than asked for, measures these again by differences, and looks at all points of the few queries
# for which a point outside the candidates could still be among the nearest.
_SPARE = 8
_ENTRIES = 1 << 25  # of the distance matrix held at once (128 MB in float32)
_FEW, _PAIRS = 4, 1 << 14  # neighbours, and pairs in a cloud, up to which one after another is faster on the CPU


@torch.no_grad()
def knn(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k points nearest to each query, nearest first; equal distances by the lower index.

    (On a GPU without Triton, points that differ by less than the rounding of a matrix product may be taken for equals
    when they straddle the k + 8 nearest: checking that would make the host wait for the device.)

    Args:
        query: Tensor with shape (B, Q, 3).
        points: Tensor with shape (B, N, 3), same unit and device.
        k: Neighbours for each query, 1 to N.

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
    kernels = kernels_for(query, points)
    if kernels is not None and points.shape[1] <= kernels.LARGEST_NEIGHBORS:
        return kernels.knn(query, points, k)[0]
    rows = max(1, _ENTRIES // (points.shape[0] * points.shape[1]))
    few = points.device.type == "cpu" and k <= _FEW and query.shape[1] * points.shape[1] <= _PAIRS
    search = _search_few if few else _search
    return torch.cat([search(part, points, k) for part in query.split(rows, dim=1)], dim=1)


def _search(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    number = points.shape[1]
    candidates = min(k + _SPARE, number)
    # The product form cancels badly far from the origin: go around the middle of each cloud.
    middle = points.mean(dim=1, keepdim=True)
    q, p = query - middle, points - middle
    size = p.square().sum(2).unsqueeze(1)  # (B, 1, N)
    # |q|^2 is the same for all points of a query and does not change the order.
    with without_autocast(points):
        product = torch.baddbmm(size, q, p.transpose(1, 2), alpha=-2)
    approximate, found = product.topk(candidates, largest=False, sorted=False)
    found = found.sort(dim=2).values
    exact = (gather(points, found) - query.unsqueeze(2)).square().sum(3)  # (B, Q, candidates)
    distance, order = exact.sort(dim=2, stable=True)
    result = found.gather(2, order[:, :, :k])
    if candidates < number and points.device.type == "cpu":
        own = q.square().sum(2)
        rounding = 8 * torch.finfo(q.dtype).eps * (own + size.amax(dim=2))
        unsure = ~(distance[:, :, k - 1] + rounding < approximate.amax(dim=2) + own)  # also if they overflow
        if unsure.any():
            result[unsure] = _search_all(query, points, unsure, k)
    return result


def _search_few(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """The same for a small k, by distances to all points: the nearest, then the nearest of the others, and so on."""
    distance = _squared_distances(query, points)
    distance.clamp_(max=torch.finfo(distance.dtype).max)  # what overflowed is still nearer than what is taken
    found = []
    for _ in range(k):
        found.append(distance.argmin(dim=2, keepdim=True))  # of equals the first
        distance.scatter_(2, found[-1], torch.inf)
    return torch.cat(found, dim=2)


def _search_traced(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """The same for exporters, which cannot look at values: all distances.

    Equals go to the lower index where the runtime's top-k does so, as ONNX prescribes.
    """
    return _squared_distances(query, points).topk(k, dim=2, largest=False, sorted=True).indices


def _squared_distances(query: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """By differences, one axis at a time: (B, Q, N)."""
    x, y, z = (query[:, :, None, axis] - points[:, None, :, axis] for axis in range(3))  # (B, Q, N) each
    return x * x + y * y + z * z


def _search_all(query: torch.Tensor, points: torch.Tensor, rows: torch.Tensor, k: int) -> torch.Tensor:
    """The same by differences to every point, for the queries marked in `rows` (B, Q): (marked, k)."""
    clouds, places = rows.nonzero(as_tuple=True)
    step = max(1, _ENTRIES // (3 * points.shape[1]))
    parts = []
    for cloud, place in zip(clouds.split(step), places.split(step), strict=True):
        distance = (points[cloud] - query[cloud, place].unsqueeze(1)).square().sum(2)
        parts.append(distance.sort(dim=1, stable=True).indices[:, :k])
    return torch.cat(parts)

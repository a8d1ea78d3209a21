"""k nearest neighbors, in the order of a stable sort of all distances.

On a GPU a quick search finds a few candidates more than asked for, by distances that carry rounding errors. These are
measured again by differences, as the textbook form measures all points, and sorted.
"""

import torch

from act3d.errors import InputError
from act3d.geometry.checks import check_count, check_points
from act3d.geometry.gathering import gather
from act3d.geometry.precision import raise_half, without_autocast
from act3d.kernels.dispatch import exporting, prefers_kd_tree, run_triton, tracing
from act3d.kernels.nearest import by_distances, by_tree, nearest

_SPARE = 8  # candidates more than asked for, of the search by products
_ENTRIES = 1 << 25  # numbers held at once (128 MB in float32)


@torch.no_grad()
def knn(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k points nearest to each query, nearest first; of equal distances the lower index first.

    (On a GPU without Triton, and in compiled code, points whose distances differ by less than the rounding of a matrix
    product may be taken for equals where they are about the k + 8 nearest: checking that would make the host wait for
    the device.)

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
    if points.device.type == "cpu" and not tracing():
        search = by_tree if prefers_kd_tree(query, points) and k < points.shape[1] else by_distances
        arrays = (query.detach().numpy(), points.detach().numpy())
        return torch.from_numpy(nearest(*arrays, k, search, torch.get_num_threads()))
    rows = max(1, _ENTRIES // (points.shape[0] * points.shape[1]))  # queries at a time
    return torch.cat([_search(part, points, k) for part in query.split(rows, dim=1)], dim=1)


def _search(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbors by |q|^2 - 2 q.p + |p|^2, one matrix product a cloud: (B, Q, 3), (B, N, 3) -> (B, Q, k)."""
    # Far from the origin the product loses digits: measure from the middle of each cloud.
    middle = points.mean(dim=1, keepdim=True)
    q, p = query - middle, points - middle
    size = p.square().sum(2).unsqueeze(1)  # (B, 1, N)
    # |q|^2 is the same for all points of a query and does not change the order.
    with without_autocast(points):
        product = torch.baddbmm(size, q, p.transpose(1, 2), alpha=-2)
    found = product.topk(min(k + _SPARE, points.shape[1]), largest=False, sorted=False).indices
    found = found.sort(dim=2).values  # so that a stable sort puts the lower of equals first
    squared = (gather(points, found) - query.unsqueeze(2)).square().sum(3)  # (B, Q, k + spare)
    return found.gather(2, squared.sort(dim=2, stable=True).indices[:, :, :k])


def _search_traced(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbors for exporters, which cannot look at values: all distances, and the runtime's top-k.

    Equals go to the lower index where that top-k does so, as ONNX prescribes.
    """
    return _squared_distances(query, points).topk(k, dim=2, largest=False, sorted=True).indices


def _squared_distances(query: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """All squared distances by differences, one axis at a time: (B, Q, N)."""
    x, y, z = (query[:, :, None, axis] - points[:, None, :, axis] for axis in range(3))  # (B, Q, N) each
    return x * x + y * y + z * z

"""k nearest neighbours."""

import torch

from act3d.geometry.checks import check_count, check_points
from act3d.geometry.gathering import gather

# The search runs on |q|^2 - 2 q.p + |p|^2 (one matrix product), whose rounding may swap near equals at the
# edge; a few candidates more than asked for, measured again by differences, make the answer exact.
_SPARE = 8
_ENTRIES = 1 << 25  # of the distance matrix held at once (128 MB in float32)


@torch.no_grad()
def knn(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k points nearest to each query, nearest first.

    Equal distances are ordered by the lower index. (On a GPU this holds among the k + 8 nearest; a tie that
    reaches beyond them is cut where the device's top-k cuts it.)

    Args:
        query: Tensor with shape (B, Q, 3).
        points: Tensor with shape (B, N, 3), same unit and device.
        k: Neighbours for each query, 1 to N.

    Returns:
        int64 Tensor with shape (B, Q, k).

    Raises:
        InputError: Wrong shape, empty or non-finite cloud, k > N.
    """
    check_points(query, "query")
    check_points(points)
    check_count(k, points.shape[1], "k", "the points of a cloud")
    if points.dtype not in (torch.float32, torch.float64):
        points = points.float()
    query = query.to(points.dtype)
    # The product form cancels badly far from the origin, so search around the middle of each cloud.
    middle = points.mean(dim=1, keepdim=True)
    query, points = query - middle, points - middle
    rows = max(1, _ENTRIES // (points.shape[0] * points.shape[1]))
    return torch.cat([_search(part, points, k) for part in query.split(rows, dim=1)], dim=1)


def _search(query: torch.Tensor, points: torch.Tensor, k: int) -> torch.Tensor:
    number = points.shape[1]
    candidates = min(k + _SPARE, number)
    # |q|^2 is the same for all points of a query: it does not change the order.
    squared = torch.baddbmm(points.square().sum(2).unsqueeze(1), query, points.transpose(1, 2), alpha=-2)
    found = squared.topk(candidates, dim=2, largest=False, sorted=False).indices.sort(dim=2).values
    exact = (gather(points, found) - query.unsqueeze(2)).square().sum(3)  # (B, Q, candidates)
    distance, order = exact.sort(dim=2, stable=True)
    result = found.gather(2, order[:, :, :k])
    if candidates < number and points.device.type == "cpu":
        tied = distance[:, :, k - 1] >= distance[:, :, -1]
        if tied.any():  # more equals than candidates: look at all points of these queries
            cloud, row = tied.nonzero(as_tuple=True)
            everything = (points[cloud] - query[cloud, row].unsqueeze(1)).square().sum(2)
            result[cloud, row] = everything.sort(dim=1, stable=True).indices[:, :k]
    return result

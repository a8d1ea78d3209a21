"""Sampling, neighbours, patches, interpolation and distances by broadcasting and Python loops."""

import torch
from torch import Tensor


def square_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of every pair. (B, N, 3), (B, M, 3) -> (B, N, M)."""
    return ((a[:, :, None, :] - b[:, None, :, :]) ** 2).sum(-1)


def farthest_point_sample(points: Tensor, count: int, start: int = 0) -> Tensor:
    """Indices of `count` points, each the farthest from those before it; the lowest index wins a tie. -> (B, count)."""
    batch, total, _ = points.shape
    chosen = torch.zeros(batch, count, dtype=torch.long, device=points.device)
    nearest = torch.full((batch, total), float("inf"), dtype=points.dtype, device=points.device)
    last = torch.full((batch,), start, dtype=torch.long, device=points.device)
    rows = torch.arange(batch, device=points.device)
    for step in range(count):
        chosen[:, step] = last
        distance = ((points - points[rows, last][:, None, :]) ** 2).sum(-1)
        nearest = torch.minimum(nearest, distance)
        farthest = nearest.max(dim=1, keepdim=True).values
        last = (nearest == farthest).int().argmax(dim=1)  # the first of the largest
    return chosen


def knn(query: Tensor, points: Tensor, k: int) -> Tensor:
    """Indices of the k nearest points, ascending, ties by lower index. (B, Q, 3), (B, N, 3) -> (B, Q, k)."""
    return square_distance(query, points).sort(dim=-1, stable=True).indices[:, :, :k]


def index_points(values: Tensor, indices: Tensor) -> Tensor:
    """Rows of `values` at `indices`. (B, N, C), (B, ...) -> (B, ..., C)."""
    batch = torch.arange(values.shape[0], device=values.device).view(-1, *[1] * (indices.dim() - 1))
    return values[batch.expand_as(indices), indices]


def group(points: Tensor, patches: int, patch_size: int, start: int = 0) -> tuple[Tensor, Tensor]:
    """Patches around sampled centres, relative to them: (B, G, M, 3), (B, G, 3)."""
    center = index_points(points, farthest_point_sample(points, patches, start))
    neighborhood = index_points(points, knn(center, points, patch_size))
    return neighborhood - center[:, :, None, :], center


def interpolate(query: Tensor, centers: Tensor, features: Tensor, k: int = 3) -> Tensor:
    """Mean of the k nearest centres' features weighted by inverse squared distance. (B, N, 3) .. -> (B, N, C)."""
    distance, indices = square_distance(query, centers).sort(dim=-1, stable=True)
    weight = 1.0 / (distance[:, :, :k] + 1e-8)
    weight = weight / weight.sum(dim=2, keepdim=True)
    return (index_points(features, indices[:, :, :k]) * weight[..., None]).sum(dim=2)


def chamfer_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean of the two directed means of the Euclidean nearest distance, over all points of the batch."""
    distance = square_distance(a, b)
    return (distance.min(dim=2).values.sqrt().mean() + distance.min(dim=1).values.sqrt().mean()) / 2


def chamfer_l2(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the two directed means of the squared nearest distance, over all points of the batch."""
    distance = square_distance(a, b)
    return distance.min(dim=2).values.mean() + distance.min(dim=1).values.mean()


def f_score(a: Tensor, b: Tensor, threshold: float = 0.01) -> Tensor:
    """Harmonic mean of precision and recall at a distance, per cloud: (B,)."""
    distance = square_distance(a, b).sqrt()
    precision = (distance.min(dim=2).values < threshold).to(a.dtype).mean(dim=1)
    recall = (distance.min(dim=1).values < threshold).to(a.dtype).mean(dim=1)
    return torch.where(precision + recall > 0, 2 * precision * recall / (precision + recall).clamp_min(1e-12), 0.0)

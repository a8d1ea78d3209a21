# mypy: disable-error-code="no-untyped-def"
"""Triton kernels for CUDA: sampling, neighbors with their gathering, Chamfer distance of many small sets.

Each picks the same points as the PyTorch form in geometry/ (of equal distances the lower index). Imported only where
Triton is installed, by `dispatch`; `TRITON_INTERPRET=1` runs them on the CPU, for tests. Coordinates are float32.
"""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from act3d.kernels.fallback import attempt, has_failed

_FAR = tl.constexpr(float("inf"))
_MANY = tl.constexpr(2147483647)


@triton.jit
def _sample_kernel(points, nearest, picked, number, count, start, BLOCK: tl.constexpr):
    """One program a cloud: `count` times the point farthest from those picked; distances are kept in `nearest`."""
    cloud = tl.program_id(0).to(tl.int64)
    points += cloud * number * 3
    nearest += cloud * number
    picked += cloud * count
    last = tl.full((), start, tl.int32)
    for i in range(count):
        tl.store(picked + i, last.to(tl.int64))
        x, y, z = tl.load(points + 3 * last), tl.load(points + 3 * last + 1), tl.load(points + 3 * last + 2)
        best = tl.full((), -1.0, tl.float32)
        place = tl.full((), 0, tl.int32)
        for first in range(0, number, BLOCK):
            at = first + tl.arange(0, BLOCK)
            inside = at < number
            dx = tl.load(points + 3 * at, mask=inside, other=0.0) - x
            dy = tl.load(points + 3 * at + 1, mask=inside, other=0.0) - y
            dz = tl.load(points + 3 * at + 2, mask=inside, other=0.0) - z
            distance = dx * dx + dy * dy + dz * dz
            known = tl.load(nearest + at, mask=inside, other=_FAR)
            distance = tl.where(inside, tl.minimum(known, distance), -1.0)
            tl.store(nearest + at, distance, mask=inside)
            here = tl.max(distance, axis=0)
            if here > best:
                place = tl.min(tl.where(distance == here, at, _MANY), axis=0)
                best = here
        last = place


@triton.jit
def _neighbors_kernel(
    query, points, found, relative, queries, number, K: tl.constexpr, BLOCK: tl.constexpr, GATHER: tl.constexpr
):
    """One program a query: all distances in registers, then k times the nearest point and its offset."""
    cloud = tl.program_id(1).to(tl.int64)
    row = cloud * queries + tl.program_id(0)
    x, y, z = tl.load(query + 3 * row), tl.load(query + 3 * row + 1), tl.load(query + 3 * row + 2)
    points += cloud * number * 3
    at = tl.arange(0, BLOCK)
    inside = at < number
    dx = tl.load(points + 3 * at, mask=inside, other=0.0) - x
    dy = tl.load(points + 3 * at + 1, mask=inside, other=0.0) - y
    dz = tl.load(points + 3 * at + 2, mask=inside, other=0.0) - z
    distance = dx * dx + dy * dy + dz * dz
    free = inside
    for i in range(K):
        smallest = tl.min(tl.where(free, distance, _FAR), axis=0)
        place = tl.min(tl.where(free & (distance == smallest), at, number - 1), axis=0)
        out = row * K + i
        tl.store(found + out, place.to(tl.int64))
        if GATHER:
            tl.store(relative + 3 * out, tl.load(points + 3 * place) - x)
            tl.store(relative + 3 * out + 1, tl.load(points + 3 * place + 1) - y)
            tl.store(relative + 3 * out + 2, tl.load(points + 3 * place + 2) - z)
        free = free & (at != place)


@triton.jit
def _squared(a, b, i, j, rows, columns):
    """Squared distances of all pairs (ROWS, COLUMNS), infinite outside."""
    squared = tl.zeros((i.shape[0], j.shape[0]), dtype=tl.float32)
    for axis in tl.static_range(3):
        left = tl.load(a + 3 * i + axis, mask=i < rows, other=0.0)
        right = tl.load(b + 3 * j + axis, mask=j < columns, other=0.0)
        difference = left[:, None] - right[None, :]
        squared += difference * difference
    return tl.where((i < rows)[:, None] & (j < columns)[None, :], squared, _FAR)


@triton.jit
def _chamfer_kernel(
    a, b, to_b, to_a, result, rows, columns, ROOT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """One program a pair of sets, both held in registers: nearest points both ways, and the distance."""
    pair = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    squared = _squared(a + pair * rows * 3, b + pair * columns * 3, i, j, rows, columns)
    from_a, from_b = tl.min(squared, axis=1), tl.min(squared, axis=0)
    place_b = tl.min(tl.where(squared == from_a[:, None], j[None, :], columns - 1), axis=1)
    place_a = tl.min(tl.where(squared == from_b[None, :], i[:, None], rows - 1), axis=0)
    tl.store(to_b + pair * rows + i, place_b, mask=i < rows)
    tl.store(to_a + pair * columns + j, place_a, mask=j < columns)
    from_a, from_b = tl.where(i < rows, from_a, 0.0), tl.where(j < columns, from_b, 0.0)
    if ROOT:
        distance = (tl.sum(tl.sqrt(from_a), axis=0) / rows + tl.sum(tl.sqrt(from_b), axis=0) / columns) / 2
    else:
        distance = tl.sum(from_a, axis=0) / rows + tl.sum(from_b, axis=0) / columns
    tl.store(result + pair, distance)


@triton.jit
def _chamfer_gradient_kernel(
    a, b, to_b, to_a, gradient, grad_a, grad_b, rows, columns,
    ROOT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One program a pair of sets: the weight of every pair of points times their difference; no atomic additions."""
    pair = tl.program_id(0).to(tl.int64)
    a += pair * rows * 3
    b += pair * columns * 3
    grad_a += pair * rows * 3
    grad_b += pair * columns * 3
    i, j = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    inside = (i < rows)[:, None] & (j < columns)[None, :]
    place_b = tl.load(to_b + pair * rows + i, mask=i < rows, other=-1)
    place_a = tl.load(to_a + pair * columns + j, mask=j < columns, other=-1)
    weight = tl.where(place_b[:, None] == j[None, :], 1.0 / rows, 0.0)
    weight += tl.where(place_a[None, :] == i[:, None], 1.0 / columns, 0.0)
    weight = tl.where(inside, weight, 0.0) * tl.load(gradient + pair)
    if ROOT:
        squared = _squared(a, b, i, j, rows, columns)
        apart = inside & (squared > 0.0)
        weight = tl.where(apart, weight / (2.0 * tl.sqrt(tl.where(apart, squared, 1.0))), 0.0)
    else:
        weight *= 2.0
    for axis in tl.static_range(3):
        left = tl.load(a + 3 * i + axis, mask=i < rows, other=0.0)
        right = tl.load(b + 3 * j + axis, mask=j < columns, other=0.0)
        change = weight * (left[:, None] - right[None, :])
        tl.store(grad_a + 3 * i + axis, tl.sum(change, axis=1), mask=i < rows)
        tl.store(grad_b + 3 * j + axis, -tl.sum(change, axis=0), mask=j < columns)


LARGEST = {"knn": 16384, "chamfer": 128}  # points of a cloud, points of a set: as many as one program holds
# Products and sums are rounded one by one, as in PyTorch: fused multiply-adds would decide ties differently.
_EXACT = {"enable_fp_fusion": False}


# Each is a custom operator of torch, so that torch.compile keeps it in its graph. Triton launches on the current
# device, which need not be that of the points.


@torch.library.custom_op("act3d::farthest_point_sample", mutates_args=())
def farthest_point_sample(points: torch.Tensor, count: int, start: int) -> torch.Tensor:
    """Sampling of float32 points (B, N, 3) -> int64 (B, count)."""
    batch, number, _ = points.shape
    points = points.contiguous()
    nearest = torch.full((batch, number), torch.inf, device=points.device)
    picked = torch.empty(batch, count, dtype=torch.int64, device=points.device)
    block = min(triton.next_power_of_2(number), 8192)
    warps = 4 if block <= 1024 else 16
    with torch.cuda.device_of(points):
        _sample_kernel[(batch,)](points, nearest, picked, number, count, start, BLOCK=block, num_warps=warps, **_EXACT)
    return picked


@farthest_point_sample.register_fake
def _(points: torch.Tensor, count: int, start: int) -> torch.Tensor:
    return points.new_empty(points.shape[0], count, dtype=torch.int64)


@torch.library.custom_op("act3d::knn", mutates_args=())
def knn(query: torch.Tensor, points: torch.Tensor, k: int, gather: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Neighbors of float32 query (B, Q, 3) among points (B, N, 3), N <= LARGEST["knn"].

    Returns:
        int64 (B, Q, k) indices; with `gather` their coordinates relative to the query (B, Q, k, 3), else an empty
        Tensor.
    """
    batch, queries, _ = query.shape
    query, points = query.contiguous(), points.contiguous()
    found, relative = _empty_neighbors(query, k, gather)
    block = triton.next_power_of_2(points.shape[1])
    warps = 4 if block <= 2048 else 8 if block <= 8192 else 16
    with torch.cuda.device_of(points):
        _neighbors_kernel[(queries, batch)](
            query, points, found, relative, queries, points.shape[1], K=k, BLOCK=block, GATHER=gather,
            num_warps=warps, **_EXACT,
        )  # fmt: skip
    return found, relative


@knn.register_fake
def _(query: torch.Tensor, points: torch.Tensor, k: int, gather: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty_neighbors(query, k, gather)


def _empty_neighbors(query: torch.Tensor, k: int, gather: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Tensors that `knn` fills."""
    batch, queries, _ = query.shape
    relative = query.new_empty((batch, queries, k, 3) if gather else (0,))
    return query.new_empty(batch, queries, k, dtype=torch.int64), relative


@torch.library.custom_op("act3d::chamfer", mutates_args=())
def _chamfer(a: torch.Tensor, b: torch.Tensor, norm: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distances (B,), and indices of the nearest points both ways, int32 (B, N) and (B, M)."""
    a, b = a.contiguous(), b.contiguous()
    result, to_b, to_a = _empty_distances(a, b)
    with torch.cuda.device_of(a):
        _chamfer_kernel[(len(a),)](a, b, to_b, to_a, result, a.shape[1], b.shape[1], **_sizes(a, b, norm))
    return result, to_b, to_a


@_chamfer.register_fake
def _(a: torch.Tensor, b: torch.Tensor, norm: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _empty_distances(a, b)


def _empty_distances(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tensors that `_chamfer` fills."""
    to_b, to_a = (x.new_empty(x.shape[:2], dtype=torch.int32) for x in (a, b))
    return a.new_empty(a.shape[0]), to_b, to_a


@torch.library.custom_op("act3d::chamfer_gradient", mutates_args=())
def _chamfer_gradient(
    a: torch.Tensor, b: torch.Tensor, to_b: torch.Tensor, to_a: torch.Tensor, gradient: torch.Tensor, norm: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of both sets for distances with this gradient (B,)."""
    a, b = a.contiguous(), b.contiguous()
    grad_a, grad_b = torch.empty_like(a), torch.empty_like(b)
    with torch.cuda.device_of(a):
        _chamfer_gradient_kernel[(len(a),)](
            a, b, to_b, to_a, gradient.contiguous(), grad_a, grad_b, a.shape[1], b.shape[1], **_sizes(a, b, norm)
        )
    return grad_a, grad_b


@_chamfer_gradient.register_fake
def _(
    a: torch.Tensor, b: torch.Tensor, to_b: torch.Tensor, to_a: torch.Tensor, gradient: torch.Tensor, norm: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    a, b, ctx.norm = inputs
    ctx.save_for_backward(a, b, *output[1:])


def _backward(ctx: Any, gradient: torch.Tensor, *_: None) -> tuple[torch.Tensor, torch.Tensor, None]:
    a, b, to_b, to_a = ctx.saved_tensors
    arguments = (a, b, to_b, to_a, gradient, ctx.norm)
    found = None if has_failed(a.device) else attempt(a.device, _chamfer_gradient, *arguments)
    return *(_plain_chamfer_gradient(*arguments) if found is None else found), None


def _plain_chamfer_gradient(
    a: torch.Tensor, b: torch.Tensor, to_b: torch.Tensor, to_a: torch.Tensor, gradient: torch.Tensor, norm: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same as `_chamfer_gradient` by PyTorch, for a device on which that kernel does not run."""
    grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
    for x, y, nearest, grad_x, grad_y in ((a, b, to_b, grad_a, grad_b), (b, a, to_a, grad_b, grad_a)):
        index = nearest.long().unsqueeze(2).expand(-1, -1, 3)  # (B, N, 3)
        apart = x - y.gather(1, index)
        if norm == 1:
            apart = F.normalize(apart, dim=2, eps=torch.finfo(x.dtype).tiny) / 2
        else:
            apart = apart * 2
        apart = apart * gradient.view(-1, 1, 1) / x.shape[1]
        grad_x += apart
        grad_y.scatter_add_(1, index, -apart)
    return grad_a, grad_b


_chamfer.register_autograd(_backward, setup_context=_save_for_backward)


def _sizes(a: torch.Tensor, b: torch.Tensor, norm: int) -> dict[str, Any]:
    rows, columns = (max(2, triton.next_power_of_2(x.shape[1])) for x in (a, b))
    warps = 4 if rows * columns <= 4096 else 16  # so that all pairs fit into registers
    return {"ROOT": norm == 1, "ROWS": rows, "COLUMNS": columns, "num_warps": warps, **_EXACT}


def chamfer(a: torch.Tensor, b: torch.Tensor, norm: int) -> torch.Tensor:
    """Chamfer distance of float32 sets (B, N, 3) and (B, M, 3), N and M <= LARGEST["chamfer"]: (B,), differentiable."""
    return _chamfer(a, b, norm)[0]

"""Layers over the points of a patch that end in a maximum, without ever holding what the maximum throws away (CPU).

A maximum over M points passes its gradient to one point a channel: of the products that a dense backward pass would
do, one in M is not with zero. Points go through in parcels of a few patches, which stay in the processor's cache.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from act3d.kernels.linear import matmul

_ROWS = 512  # points at a time: 1 MB of 512 channels in float32


def parcels(patches: int, size: int) -> list[slice]:
    """Cut patches of `size` points each into runs of about `_ROWS` points."""
    step = max(1, _ROWS // size)
    return [slice(start, min(start + step, patches)) for start in range(0, patches, step)]


def linear_max(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, size: int) -> torch.Tensor:
    """Linear layer on every point, then the maximum over the points of a patch.

    Args:
        rows: Tensor with shape (P * size, C_in), the points of a patch one after another.
        weight, bias: Tensors with shapes (C_out, C_in) and (C_out,).
        size: Points a patch.

    Returns:
        Tensor with shape (P, C_out).
    """
    return _MlpMax.apply(rows, None, None, weight, bias, size)


def mlp_max(
    rows: torch.Tensor, inner: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, size: int
) -> torch.Tensor:
    """Linear layer, a shift for each patch, ReLU, and `linear_max`.

    Args:
        rows: Tensor with shape (P * size, C_in).
        inner: Tensor with shape (H, C_in).
        shift: Tensor with shape (P, H).
        weight, bias: Tensors with shapes (C_out, H) and (C_out,).
        size: Points a patch.

    Returns:
        Tensor with shape (P, C_out).
    """
    return _MlpMax.apply(rows, inner, shift, weight, bias, size)


class _MlpMax(Function):
    """max over points of [relu(x A^T + s)] W^T + b, the part in brackets being x itself where A is None."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        inner: torch.Tensor | None,
        shift: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor,
        size: int,
    ) -> torch.Tensor:
        patches = rows.shape[0] // size
        top = rows.new_empty(patches, weight.shape[0])
        place = torch.empty(patches, weight.shape[0], dtype=torch.int64) if any(ctx.needs_input_grad) else None
        for part in parcels(patches, size):
            x = _hidden(rows, inner, shift, part, size)
            y = matmul(x, weight.t()).view(part.stop - part.start, size, -1)
            torch.amax(y, dim=1, out=top[part])
            if place is not None:
                place[part] = _first_place(y, top[part])
        ctx.save_for_backward(rows, inner, shift, weight, place)
        ctx.size = size
        return top.add_(bias)  # the same for all points: the maximum is where it was

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, shift, weight, place = ctx.saved_tensors
        size = ctx.size
        of_rows = torch.empty_like(rows)
        of_weight = torch.zeros_like(weight)
        of_inner = None if inner is None else torch.zeros_like(inner)
        of_shift = None if shift is None else torch.empty_like(shift)
        for part in parcels(place.shape[0], size):
            x = _hidden(rows, inner, shift, part, size)
            here = slice(part.start * size, part.stop * size)
            given, winner = gradient[part], place[part] + size * torch.arange(part.stop - part.start).unsqueeze(1)
            of_weight += _rows_mixed(winner.t(), x, given.t())
            of_x = _spread(place[part], winner, weight, given, len(x))
            if inner is None:
                of_rows[here] = of_x
                continue
            of_x *= x > 0
            torch.sum(of_x.view(-1, size, of_x.shape[1]), dim=1, out=of_shift[part])  # type: ignore[index]
            of_inner += matmul(of_x.t(), rows[here])  # type: ignore[operator]
            of_rows[here] = matmul(of_x, inner)
        return of_rows, of_inner, of_shift, of_weight, gradient.sum(0), None


def _hidden(
    rows: torch.Tensor, inner: torch.Tensor | None, shift: torch.Tensor | None, part: slice, size: int
) -> torch.Tensor:
    """The points of some patches, after the inner layer if there is one: (p * size, H)."""
    x = rows[part.start * size : part.stop * size]
    if inner is None or shift is None:
        return x
    x = matmul(x, inner.t())
    x.view(-1, size, x.shape[1]).add_(shift[part].unsqueeze(1))
    return x.relu_()


def _first_place(y: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    """Where in (p, M, C) the maximum (p, C) stands first. `max` gives this too, but is slow along such a dimension."""
    size = y.shape[1]
    if size > 255:
        return y.max(dim=1).indices
    rank = torch.arange(size, 0, -1, dtype=torch.uint8).view(1, size, 1)  # the first has the highest
    best = ((y == top.unsqueeze(1)).view(torch.uint8) * rank).amax(dim=1)
    return (size - best.long()).clamp_max_(size - 1)  # NaN equals nothing


def _rows_mixed(index: torch.Tensor, rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Sums of rows, each with its factor: index and factors (S, n), rows (R, H) -> (S, H)."""
    return F.embedding_bag(index.contiguous(), rows, mode="sum", per_sample_weights=factors.contiguous())


def _spread(
    place: torch.Tensor, winner: torch.Tensor, weight: torch.Tensor, given: torch.Tensor, total: int
) -> torch.Tensor:
    """Gradient of the points: to every point the weights of those channels whose maximum it was: (total, H)."""
    # Channels by point, patch by patch. NumPy sorts bytes by counting, eight times as fast as torch.
    order = torch.from_numpy(place.numpy().astype(np.min_scalar_type(total)).argsort(axis=1, kind="stable"))
    first = torch.zeros(total, dtype=torch.int64)
    first[1:] = torch.bincount(winner.flatten(), minlength=total).cumsum(0)[:-1]
    return F.embedding_bag(
        order.flatten(), weight, first, mode="sum", per_sample_weights=given.gather(1, order).flatten()
    )

"""Layers over the points of a patch that end in a maximum, on the CPU, without holding all that goes into the maximum.

A maximum over M points passes its gradient to one point a channel: of the products that a dense backward pass would
do, one in M is not with zero. Points go through in chunks of a few patches, which stay in the processor's cache.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from act3d.kernels.linear import matmul

_ROWS = 512  # points at a time: 1 MB of 512 channels in float32
relu_gradient = torch.ops.aten.threshold_backward.grad_input  # in one pass, and in winner


def _chunks(patches: int, size: int) -> list[slice]:
    """Slices of patches of `size` points each, about `_ROWS` points a slice."""
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
    return _MlpMax.apply(rows, None, None, weight, bias, size, torch.is_grad_enabled())


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
    return _MlpMax.apply(rows, inner, shift, weight, bias, size, torch.is_grad_enabled())


class _MlpMax(Function):
    """Maximum over points of [relu(x A^T + s)] W^T + b; where A is None, the part in brackets is x itself."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        inner: torch.Tensor | None,
        shift: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor,
        size: int,
        trains: bool,
    ) -> torch.Tensor:
        patches = rows.shape[0] // size
        top = rows.new_empty(patches, weight.shape[0])
        # Without gradients the weights still say that they need one; finding the winners is a tenth of the time.
        trains = trains and any(ctx.needs_input_grad)
        winner = torch.empty(patches, weight.shape[0], dtype=torch.int64) if trains else None
        for chunk in _chunks(patches, size):
            x = _hidden(rows, inner, shift, chunk, size)
            y = matmul(x, weight.t()).view(chunk.stop - chunk.start, size, -1)
            torch.amax(y, dim=1, out=top[chunk])
            if winner is not None:
                winner[chunk] = _first_maximum(y, top[chunk])
        ctx.save_for_backward(rows, inner, shift, weight, winner)
        ctx.size = size
        return top.add_(bias)  # the same for all points, so it does not change which is the maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, shift, weight, winner = ctx.saved_tensors
        size = ctx.size
        grad_rows = torch.empty_like(rows)
        grad_weight = torch.zeros_like(weight)
        grad_inner = None if inner is None else torch.zeros_like(inner)
        grad_shift = None if shift is None else torch.empty_like(shift)
        for chunk in _chunks(winner.shape[0], size):
            x = _hidden(rows, inner, shift, chunk, size)
            here = slice(chunk.start * size, chunk.stop * size)
            first_row = size * torch.arange(chunk.stop - chunk.start).unsqueeze(1)  # of each patch
            grad_chunk, winner_row = gradient[chunk], winner[chunk] + first_row
            grad_weight += _weighted_sums(winner_row.t(), x, grad_chunk.t())
            grad_x = _grad_points(winner[chunk], winner_row, weight, grad_chunk, len(x))
            if inner is None:
                grad_rows[here] = grad_x
                continue
            relu_gradient(grad_x, x, 0, grad_input=grad_x)
            torch.sum(grad_x.view(-1, size, grad_x.shape[1]), dim=1, out=grad_shift[chunk])  # type: ignore[index]
            grad_inner += matmul(grad_x.t(), rows[here])  # type: ignore[operator]
            grad_rows[here] = matmul(grad_x, inner)
        return grad_rows, grad_inner, grad_shift, grad_weight, gradient.sum(0), None, None


def _hidden(
    rows: torch.Tensor, inner: torch.Tensor | None, shift: torch.Tensor | None, chunk: slice, size: int
) -> torch.Tensor:
    """The points of some patches, after the inner layer if there is one: (p * size, H)."""
    x = rows[chunk.start * size : chunk.stop * size]
    if inner is None or shift is None:
        return x
    x = matmul(x, inner.t())
    x.view(-1, size, x.shape[1]).add_(shift[chunk].unsqueeze(1))
    return x.relu_()


def _first_maximum(y: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    """Index of the first maximum over M of y (p, M, C), whose maximum is top (p, C): (p, C). `max` is slower here."""
    size = y.shape[1]
    if size > 255:
        return y.max(dim=1).indices
    rank = np.arange(size, 0, -1, dtype=np.uint8)[:, None]  # the first point has the highest
    # NumPy compares bytes and floats twice as fast as torch.
    best = ((y.numpy() == top.unsqueeze(1).numpy()).view(np.uint8) * rank).max(axis=1)
    return torch.from_numpy(size - best.astype(np.int64)).clamp_max_(size - 1)  # NaN equals nothing


def _weighted_sums(index: torch.Tensor, rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Sums of rows (R, H), each times its factor: index and factors (S, n) -> (S, H)."""
    return F.embedding_bag(index.contiguous(), rows, mode="sum", per_sample_weights=factors.contiguous())


def _grad_points(
    winner: torch.Tensor, winner_row: torch.Tensor, weight: torch.Tensor, grad_top: torch.Tensor, total: int
) -> torch.Tensor:
    """Gradient of the points (total, H): each gets the weights of those channels whose maximum it is.

    Args:
        winner, winner_row: Point of every maximum, as its index in the patch and among all points: (p, C).
        weight: Tensor with shape (C, H).
        grad_top: Gradient of the maxima (p, C).
        total: Number of points.
    """
    # Channels in the order of their points, patch by patch. NumPy's stable sort of short integers is eight times as
    # fast as torch's.
    order = torch.from_numpy(winner.numpy().astype(np.min_scalar_type(total)).argsort(axis=1, kind="stable"))
    first = torch.zeros(total, dtype=torch.int64)
    first[1:] = torch.bincount(winner_row.flatten(), minlength=total).cumsum(0)[:-1]
    return F.embedding_bag(
        order.flatten(), weight, first, mode="sum", per_sample_weights=grad_top.gather(1, order).flatten()
    )

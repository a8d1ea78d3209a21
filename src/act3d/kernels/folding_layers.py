"""The two wide layers of the folding decoder on the CPU, in parcels of rows that stay in the processor's cache."""

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from act3d.kernels.linear import matmul

_ROWS = 512
threshold_backward = torch.ops.aten.threshold_backward  # what ReLU lets through, in one pass


def seeded_linear(rows: torch.Tensor, seeds: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """ReLU of every row plus every seed, then a linear layer.

    Args:
        rows: Tensor with shape (Q, H).
        seeds: Tensor with shape (S, H).
        weight, bias: Tensors with shapes (O, H) and (O,).

    Returns:
        Tensor with shape (Q * S, O), the seeds of a row one after another.
    """
    return _SeededLinear.apply(rows, seeds, weight, bias)


def normed_linear(
    rows: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, eps: float, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Batch norm by the statistics of these rows, ReLU, linear layer.

    Args:
        rows: Tensor with shape (R, H).
        scale, offset, eps: Of the batch norm, (H,) each.
        weight, bias: Tensors with shapes (O, H) and (O,).

    Returns:
        Tensor with shape (R, O); mean and variance (H,), without gradient.
    """
    return _NormedLinear.apply(rows, scale, offset, eps, weight, bias)


class _SeededLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, seeds: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(rows, seeds, weight)
        result = rows.new_empty(len(rows) * len(seeds), len(weight))
        step = max(1, _ROWS // len(seeds))
        for part, out in zip(rows.split(step), result.split(step * len(seeds)), strict=True):
            out.copy_(matmul(_seeded(part, seeds), weight.t(), bias))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows, seeds, weight = ctx.saved_tensors
        of_rows, of_seeds, of_weight = torch.empty_like(rows), torch.zeros_like(seeds), torch.zeros_like(weight)
        step = max(1, _ROWS // len(seeds))
        parts = zip(rows.split(step), gradient.split(step * len(seeds)), of_rows.split(step), strict=True)
        for part, given, out in parts:
            x = _seeded(part, seeds)
            of_weight += matmul(given.t(), x)
            of_x = threshold_backward(matmul(given, weight), x, 0).view(len(part), len(seeds), -1)
            torch.sum(of_x, dim=1, out=out)
            of_seeds += of_x.sum(0)
        return of_rows, of_seeds, of_weight, gradient.sum(0)


def _seeded(rows: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    return (rows.unsqueeze(1) + seeds).relu_().view(-1, rows.shape[1])


class _NormedLinear(Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        scale: torch.Tensor,
        offset: torch.Tensor,
        eps: float,
        weight: torch.Tensor,
        bias: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean = rows.mean(0)
        variance = torch.zeros_like(mean)
        for part in rows.split(_ROWS):
            variance += (part - mean).square_().sum(0)
        variance /= len(rows)
        inverse = torch.rsqrt(variance + eps)
        factor = scale * inverse
        shift = offset - mean * factor
        result = rows.new_empty(len(rows), len(weight))
        for part, out in zip(rows.split(_ROWS), result.split(_ROWS), strict=True):
            out.copy_(matmul(torch.addcmul(shift, part, factor).relu_(), weight.t(), bias))
        ctx.save_for_backward(rows, scale, offset, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return result, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, scale, offset, weight, mean, inverse = ctx.saved_tensors
        of_scale, of_offset, of_weight = torch.zeros_like(scale), torch.zeros_like(offset), torch.zeros_like(weight)
        of_rows = torch.empty_like(rows)
        factor = scale * inverse
        # The gradient of the normed rows and its sums; then what it means for the rows (Ioffe and Szegedy, 2015).
        for part, given, out in zip(*(x.split(_ROWS) for x in (rows, gradient, of_rows)), strict=True):
            centered = part - mean
            x = torch.addcmul(offset, centered, factor).relu_()
            of_weight += matmul(given.t(), x)
            out.copy_(threshold_backward(matmul(given, weight), x, 0))
            of_offset += out.sum(0)
            of_scale += centered.mul_(out).sum(0)
        of_scale *= inverse
        slope = -of_scale * inverse / len(rows)
        for part, out in zip(rows.split(_ROWS), of_rows.split(_ROWS), strict=True):
            out.addcmul_(part - mean, slope).sub_(of_offset / len(rows)).mul_(factor)
        return of_rows, of_scale, of_offset, None, of_weight, gradient.sum(0)

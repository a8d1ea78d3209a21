"""The wide layers of the folding decoder on the CPU, in chunks of rows that stay in the processor's cache."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from act3d.kernels.batch_norm import running_statistics, scale_and_shift, update_running_statistics
from act3d.kernels.linear import linear, matmul

_ROWS = 512  # of a chunk: 1 MB of 512 channels in float32
relu_gradient = torch.ops.aten.threshold_backward.grad_input  # in one pass, and in place


def fine_offsets(rows: torch.Tensor, seeds: torch.Tensor, layers: nn.Sequential) -> torch.Tensor:
    """Offsets of fine from coarse points, as `models.folding.FoldingDecoder` computes them layer by layer.

    Every row meets every seed, so mean and variance of their sums are the sums of means and variances.

    Args:
        rows: Tensor with shape (Q, H), the first layer's part of patch and coarse point.
        seeds: Tensor with shape (S, H), the first layer's part of the seeds.
        layers: Three 1x1 convolutions with batch norm and ReLU between them; the work of the first is done.

    Returns:
        Tensor with shape (Q * S, 3). Running statistics of both norms move as in training, if they are in training.
    """
    _, norm1, _, conv2, norm2, _, conv3 = layers
    norm1, norm2 = cast(nn.BatchNorm1d, norm1), cast(nn.BatchNorm1d, norm2)
    weight2, bias2 = _weight_and_bias(conv2)
    weight3, bias3 = _weight_and_bias(conv3)
    scale, offset = scale_and_shift(norm1, *_statistics_of_sums(norm1, rows, seeds))
    rows, seeds = rows * scale, seeds * scale + offset  # (row + seed) scale + offset, before anything is added
    if norm2.training:
        x = seeded_linear(rows, seeds, weight2, bias2)  # (Q S, H)
        offsets, mean, variance = normed_linear(x, norm2.weight, norm2.bias, norm2.eps, weight3, bias3)
        update_running_statistics(norm2, mean, variance, len(x))
        return offsets
    scale, offset = scale_and_shift(norm2, *running_statistics(norm2))
    x = seeded_linear(rows, seeds, weight2 * scale.unsqueeze(1), bias2 * scale + offset)
    return linear(F.relu(x), weight3, bias3)


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
        scale, offset, eps: Weight (H,), bias (H,) and epsilon of the batch norm.
        weight, bias: Tensors with shapes (O, H) and (O,).

    Returns:
        Tensor with shape (R, O); mean and variance (H,), without gradient.
    """
    return _NormedLinear.apply(rows, scale, offset, eps, weight, bias)


def _weight_and_bias(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (C_out, C_in) and bias (C_out,) of a 1x1 convolution."""
    layer = cast(nn.Conv1d, layer)
    return layer.weight.flatten(1), cast(torch.Tensor, layer.bias)


def _statistics_of_sums(
    norm: nn.BatchNorm1d, rows: torch.Tensor, seeds: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (H,) over the sums of every row (Q, H) and every seed (S, H)."""
    if not norm.training:
        return running_statistics(norm)
    mean_row, mean_seed = rows.mean(0), seeds.mean(0)
    variance = (rows - mean_row).square().mean(0) + (seeds - mean_seed).square().mean(0)
    mean = mean_row + mean_seed
    update_running_statistics(norm, mean, variance, len(seeds) * len(rows))
    return mean, variance


class _SeededLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, seeds: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(rows, seeds, weight)
        result = rows.new_empty(len(rows) * len(seeds), len(weight))
        step = max(1, _ROWS // len(seeds))
        for chunk, out in zip(rows.split(step), result.split(step * len(seeds)), strict=True):
            out.copy_(matmul(_relu_of_sums(chunk, seeds), weight.t(), bias))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows, seeds, weight = ctx.saved_tensors
        grad_rows, grad_seeds, grad_weight = torch.empty_like(rows), torch.zeros_like(seeds), torch.zeros_like(weight)
        step = max(1, _ROWS // len(seeds))
        chunks = zip(rows.split(step), gradient.split(step * len(seeds)), grad_rows.split(step), strict=True)
        for chunk, grad_chunk, out in chunks:
            x = _relu_of_sums(chunk, seeds)
            grad_weight += matmul(grad_chunk.t(), x)
            grad_x = matmul(grad_chunk, weight)
            relu_gradient(grad_x, x, 0, grad_input=grad_x)
            grad_x = grad_x.view(len(chunk), len(seeds), -1)
            torch.sum(grad_x, dim=1, out=out)
            grad_seeds += grad_x.sum(0)
        return grad_rows, grad_seeds, grad_weight, gradient.sum(0)


def _relu_of_sums(rows: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """ReLU of every row (Q, H) plus every seed (S, H): (Q S, H)."""
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
        for chunk in rows.split(_ROWS):
            variance += (chunk - mean).square_().sum(0)
        variance /= len(rows)
        inverse = torch.rsqrt(variance + eps)
        factor = scale * inverse
        shift = offset - mean * factor
        result = rows.new_empty(len(rows), len(weight))
        for chunk, out in zip(rows.split(_ROWS), result.split(_ROWS), strict=True):
            out.copy_(matmul(torch.addcmul(shift, chunk, factor).relu_(), weight.t(), bias))
        ctx.save_for_backward(rows, scale, offset, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return result, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, scale, offset, weight, mean, inverse = ctx.saved_tensors
        grad_scale, grad_offset, grad_weight = (torch.zeros_like(x) for x in (scale, offset, weight))
        grad_rows = torch.empty_like(rows)
        factor = scale * inverse
        # First the gradient of the normed rows and its sums, then of the rows (Ioffe and Szegedy, 2015, section 3).
        for chunk, grad_chunk, out in zip(*(x.split(_ROWS) for x in (rows, gradient, grad_rows)), strict=True):
            centered = chunk - mean
            x = torch.addcmul(offset, centered, factor).relu_()
            grad_weight += matmul(grad_chunk.t(), x)
            relu_gradient(matmul(grad_chunk, weight), x, 0, grad_input=out)
            grad_offset += out.sum(0)
            grad_scale += centered.mul_(out).sum(0)
        grad_scale *= inverse
        slope = -grad_scale * inverse / len(rows)
        for chunk, out in zip(rows.split(_ROWS), grad_rows.split(_ROWS), strict=True):
            out.addcmul_(chunk - mean, slope).sub_(grad_offset / len(rows)).mul_(factor)
        return grad_rows, grad_scale, grad_offset, None, grad_weight, gradient.sum(0)

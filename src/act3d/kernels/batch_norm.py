"""Batch norm without a pass over its input: mean and variance of a linear layer's output follow from its input's.

With y = x A^T + s, mean(y) = mean(x) A^T + mean(s), and var(y) = A cov(x) A^T on the diagonal (plus what s adds). So
normalising is a change of A and s, and the large tensor y is made once, already normalised.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from act3d.kernels.linear import matmul


def folds(norm: nn.Module, rows: torch.Tensor) -> bool:
    """Whether `norm` over these rows (R, C) can be folded into the layer before it on this device.

    On the CPU, in single and double precision; not while torch traces or compiles, which fuses in its own way; not
    where the statistics come from several processes (SyncBatchNorm).
    """
    return (
        not torch.compiler.is_compiling()  # first: what follows looks at sizes, which a trace must leave open
        and type(norm) is nn.BatchNorm1d
        and norm.affine
        and norm.track_running_stats
        and (norm.momentum is not None)
        and rows.device.type == "cpu"
        and rows.dtype in (torch.float32, torch.float64)
        and rows.dtype == norm.weight.dtype
        and (not norm.training or rows.shape[0] > 1)
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
    )


def scale_shift(norm: nn.BatchNorm1d, mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What batch norm multiplies by and then adds, (C,) each."""
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale


def running(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """The running averages that batch norm uses outside training: mean and variance, (C,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


@torch.no_grad()
def remember(norm: nn.BatchNorm1d, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
    """Move the running averages as batch norm does: with the unbiased variance of `count` rows."""
    average_mean, average_variance = running(norm)
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    average_mean.lerp_(mean.detach(), norm.momentum)
    average_variance.lerp_(variance.detach() * (count / (count - 1)), norm.momentum)


def moments(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C,) and covariance (C, C), divided by R, of rows (R, C)."""
    return _Moments.apply(rows)


def variance_after(weight: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Variance of every output of a linear layer (O, C) whose input has this covariance (C, C): (O,)."""
    return ((weight @ covariance) * weight).sum(1).clamp_min(0)


class _Moments(Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = rows.mean(0)
        centered = rows - mean
        ctx.save_for_backward(rows, mean)
        return mean, matmul(centered.t(), centered) / len(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: torch.Tensor, of_covariance: torch.Tensor) -> torch.Tensor:
        rows, mean = ctx.saved_tensors
        both = (of_covariance + of_covariance.t()) / len(rows)
        # (x - mean) S + of_mean / R, as one product; that the mean moves with x adds nothing, since x - mean sums to 0
        return matmul(rows, both, of_mean / len(rows) - mean @ both)

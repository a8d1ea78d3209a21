"""Batch norm folded into the linear layer before it.

For y = x A^T + s, mean(y) = mean(x) A^T + mean(s), and var(y) is the diagonal of A cov(x) A^T (plus what s adds). So
the statistics of the large tensor y follow from those of the smaller x, and normalizing is a change of A and s: y is
made once, already normalized. `dispatch.folds_batch_norm` says where this runs.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from act3d.kernels.linear import matmul


def scale_and_shift(
    norm: nn.BatchNorm1d, mean: torch.Tensor, variance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch norm as y scale + shift, for statistics of shape (C,): scale and shift (C,)."""
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale


def running_statistics(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Running mean and variance (C,), which batch norm uses outside training."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


@torch.no_grad()
def update_running_statistics(norm: nn.BatchNorm1d, mean: torch.Tensor, variance: torch.Tensor, rows: int) -> None:
    """Move the running mean and variance as batch norm does: by the unbiased variance over this many rows."""
    running_mean, running_variance = running_statistics(norm)
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    running_mean.lerp_(mean.detach(), norm.momentum)
    running_variance.lerp_(variance.detach() * (rows / (rows - 1)), norm.momentum)


def mean_and_covariance(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C,) and covariance (C, C), divided by R, of rows (R, C)."""
    return _MeanAndCovariance.apply(rows)


def variance_after_linear(weight: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Variance (O,) of the outputs of a linear layer (O, C) whose input has this covariance (C, C)."""
    return ((weight @ covariance) * weight).sum(1).clamp_min(0)


class _MeanAndCovariance(Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = rows.mean(0)
        centered = rows - mean
        ctx.save_for_backward(rows, mean)
        return mean, matmul(centered.t(), centered) / len(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: torch.Tensor, grad_covariance: torch.Tensor) -> torch.Tensor:
        rows, mean = ctx.saved_tensors
        symmetric = (grad_covariance + grad_covariance.t()) / len(rows)
        # (x - mean) S + grad_mean / R, as one product; that the mean moves with x adds nothing: x - mean sums to 0
        return matmul(rows, symmetric, grad_mean / len(rows) - mean @ symmetric)

"""Batch norms whose statistics come from the batches of all processes, so that several train as one would.

On CUDA this is torch's own SyncBatchNorm, which refuses the CPU.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from act3d.engine import processes


def share_batch_norms(model: nn.Module, device: torch.device) -> None:
    """Let the batch norms inside a model take their statistics over all processes; parameters stay the same."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in list(model.modules()):
        for name, norm in module.named_children():
            if type(norm) is nn.BatchNorm1d:
                setattr(module, name, SharedBatchNorm.of(norm))


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch norm on the CPU, by mean and variance over the rows of all processes. Their numbers of rows may differ."""

    @classmethod
    def of(cls, norm: nn.BatchNorm1d) -> "SharedBatchNorm":
        """Return one with the parameters, running statistics and mode of another batch norm."""
        shared = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        shared.weight, shared.bias = norm.weight, norm.bias
        shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
        shared.num_batches_tracked = norm.num_batches_tracked
        return shared.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C) or (R, C, L) -> the same shape."""
        if not self.training or not processes.active():
            return super().forward(x)
        self._check_input_dim(x)
        shape = (1, -1, *[1] * (x.ndim - 2))
        rows = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        others = [dim for dim in range(x.ndim) if dim != 1]
        count = processes.sum_over_processes(rows.new_tensor(float(x.numel() // self.num_features)))
        mean = _Sum.apply(rows.sum(others)) / count
        centered = rows - mean.view(shape)
        variance = _Sum.apply(centered.square().sum(others)) / count
        self._move_averages(mean.detach(), variance.detach() * count / (count - 1))
        normed = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(x.dtype)

    @torch.no_grad()
    def _move_averages(self, mean: Tensor, variance: Tensor) -> None:
        """Move running mean and variance (C,) as torch's batch norm does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


class _Sum(Function):
    """Sum over all processes. Every process's loss depends on every term, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return processes.sum_over_processes(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return processes.sum_over_processes(gradients[0])

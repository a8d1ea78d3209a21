"""Linear layers and 1x1 convolutions over rows, on the CPU by the faster of the two libraries that torch brings.

torch hands every product in single precision to MKL, and uses oneDNN for convolutions only; large products go to oneDNN
where it is faster (`dispatch.prefers_onednn`). Both add up in their own order: results differ in the last digits, as
between two versions of one library. `torch.backends.mkldnn.flags(enabled=False)` switches oneDNN off.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from act3d.kernels import onednn
from act3d.kernels.dispatch import prefers_onednn


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`torch.nn.functional.linear`: x (..., C_in), weight (C_out, C_in), bias (C_out,) -> (..., C_out)."""
    if prefers_onednn(x, weight):
        return _OneDnnLinear.apply(x, onednn.dense(weight), bias)
    return F.linear(x, weight, bias)


def matmul(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """a (R, K) times b (K, C), plus bias (C,); for use inside autograd functions: it has no gradient of its own."""
    if prefers_onednn(a, b.t()):
        return onednn.product(a, b.t(), bias)
    return a @ b if bias is None else torch.addmm(bias, a, b)


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C_in) -> (..., C_out)."""
        return linear(x, self.weight, self.bias)


def pointwise(layer: nn.Module, x: torch.Tensor, columns: slice | None = None, bias: bool = True) -> torch.Tensor:
    """A 1x1 convolution over rows (..., C_in), as a matrix product.

    Args:
        layer: nn.Conv1d or nn.Conv2d whose weight has shape (C_out, C_in, 1[, 1]).
        x: Tensor with shape (..., C_in), or (..., width of `columns`).
        columns: The input channels of the weight to use; all by default.
        bias: Add the layer's bias, if it has one.

    Returns:
        Tensor with shape (..., C_out).
    """
    layer = cast(nn.Conv1d, layer)
    weight = layer.weight.flatten(1)
    return linear(x, weight if columns is None else weight[:, columns], layer.bias if bias else None)


class _OneDnnLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # the input is only needed for the gradient of a weight that is trained
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return onednn.product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = None, None, None
        rows = gradient.reshape(-1, gradient.shape[-1])
        if ctx.needs_input_grad[0]:
            grad_x = onednn.product(rows, weight.t()).view(*gradient.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            inputs = x.reshape(-1, x.shape[-1])
            if weight.stride(0) == 1 < weight.stride(1):  # a transposed view: its gradient is laid out as it is
                grad_weight = onednn.product(inputs.t(), rows.t()).t()
            else:
                grad_weight = onednn.product(rows.t(), inputs.t())
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias

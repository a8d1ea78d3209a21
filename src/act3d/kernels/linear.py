"""Matrix products of linear layers on the CPU, by the faster of the two libraries that torch brings: MKL or oneDNN.

torch hands every product in single precision to MKL, and uses oneDNN for convolutions only. On processors that are not
Intel's, MKL stays at half of what oneDNN reaches with AVX-512, and a sixth behind it with AVX2 (benchmarks/RESULTS.md).
So large products go to oneDNN there. Both add up in their own order: results differ in the last digits, as between two
versions of one library.
`torch.backends.mkldnn.flags(enabled=False)` switches oneDNN off.
"""

import functools
import platform
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_LARGE = 1 << 21  # multiplications of a product from which oneDNN's start is worth its while


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`torch.nn.functional.linear`: x (..., C_in), weight (C_out, C_in), bias (C_out,) -> (..., C_out)."""
    return _Linear.apply(x, _dense(weight), bias) if _suits(x, weight) else F.linear(x, weight, bias)


def matmul(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """a (R, K) times b (K, C), plus bias (C,); for use inside autograd functions: it has no gradient of its own."""
    if _suits(a, b.t()):
        return _product(a, b.t(), bias)
    return a @ b if bias is None else torch.addmm(bias, a, b)


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C_in) -> (..., C_out)."""
        return linear(x, self.weight, self.bias)


def flop_formulas() -> dict[Any, Any]:
    """What torch's `FlopCounterMode` has to be told (`custom_mapping`) to count the products that go to oneDNN."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return {}
    # x (..., K), weight (C, K): a multiply-add counts as two.
    return {torch.ops.mkldnn._linear_pointwise: lambda x, weight, *_, **__: 2 * x.numel() * weight[0]}


def _suits(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether x weight^T is for oneDNN: x (..., K), weight (C, K)."""
    return (
        not torch.compiler.is_compiling()  # first: what follows looks at sizes, which a trace must leave open
        and not torch.jit.is_tracing()
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() * weight.shape[0] >= _LARGE
        and _ahead_of_mkl()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


@functools.cache
def _ahead_of_mkl() -> bool:
    """Whether this is a processor with AVX2 or AVX-512, but not Intel's, and this torch has oneDNN's product."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512") or not torch.backends.mkldnn.is_available():
        return False
    info = Path("/proc/cpuinfo")
    maker = info.read_text() if info.exists() else platform.processor()
    return "Intel" not in maker and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x (..., K) times weight^T (K, C)."""
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")


def _dense(x: torch.Tensor) -> torch.Tensor:
    """A matrix without gaps, as it lies or turned. oneDNN takes part of a larger one too, a hundred times slower."""
    return x if x.is_contiguous() or (x.ndim == 2 and x.t().is_contiguous()) else x.contiguous()


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # what a frozen weight saw is not kept
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = None, None, None
        rows = gradient.reshape(-1, gradient.shape[-1])
        if ctx.needs_input_grad[0]:
            of_x = _product(rows, weight.t()).view(*gradient.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            seen = x.reshape(-1, x.shape[-1])
            turned = weight.stride(0) == 1 < weight.stride(1)  # a transposed view: its gradient lies as it does
            of_weight = _product(seen.t(), rows.t()).t() if turned else _product(rows.t(), seen.t())
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_x, of_weight, of_bias

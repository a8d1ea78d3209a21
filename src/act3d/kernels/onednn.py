"""oneDNN's product of a linear layer: an operator of torch's compiler that is not part of its public interface.

This is the only place that calls it. Tried with torch 2.13.0. `works` multiplies two small matrices first: a torch that
lacks the operator, or gives it other arguments, keeps its own product.
"""

import functools
from typing import Any

import torch


@functools.cache
def works() -> bool:
    """Whether this torch has the operator and it gives the right product."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    x, weight, bias, expected = (
        torch.tensor(values, dtype=torch.float32, device="cpu")
        for values in ([[1, 2], [3, 4], [5, 6]], [[1, -1], [2, 0]], [10, 20], [[9, 22], [9, 26], [9, 30]])
    )
    try:
        return torch.equal(product(x, weight, bias), expected)
    except (RuntimeError, TypeError, NotImplementedError):  # another signature, or not for this processor
        return False


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x (..., K) times weight^T, weight (C, K), plus bias (C,): (..., C), float32 on the CPU, without gradient."""
    return torch.ops.mkldnn._linear_pointwise(dense(x), dense(weight), bias, "none", [], "")


def dense(x: torch.Tensor) -> torch.Tensor:
    """A matrix without gaps, as it lies or transposed. oneDNN takes part of a larger one too, 100 times slower."""
    return x if x.is_contiguous() or (x.ndim == 2 and x.t().is_contiguous()) else x.contiguous()


def flop_formulas() -> dict[Any, Any]:
    """What torch's `FlopCounterMode` has to be told (`custom_mapping`) to count the products that go to oneDNN."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return {}
    # x (..., K), weight (C, K): a multiply-add counts as two.
    return {torch.ops.mkldnn._linear_pointwise: lambda x, weight, *_, **__: 2 * x.numel() * weight[0]}

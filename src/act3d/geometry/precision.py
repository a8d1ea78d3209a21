"""Keeping single precision where half precision, or autocast, would lose what decides."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def raise_half(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision as float32, anything else as it is: 8 or 11 bits cannot tell neighbors apart."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def without_autocast(tensor: torch.Tensor) -> AbstractContextManager[object]:
    """A context in which matrix products keep the precision of their factors although autocast or TF32 is on."""
    plain = torch.autocast(tensor.device.type, enabled=False)
    # A trace would bake the global setting in; compiled code on CUDA finds neighbors by kernels without products.
    if torch.compiler.is_compiling() or torch.get_float32_matmul_precision() == "highest":
        return plain
    return _exact(plain)


@contextmanager
def _exact(plain: torch.autocast) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with plain:
            yield
    finally:
        torch.set_float32_matmul_precision(before)

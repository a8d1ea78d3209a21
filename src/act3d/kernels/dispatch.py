"""Where compiled kernels can take over: Triton's from PyTorch on CUDA, Numba's from NumPy on the CPU."""

import functools
import importlib.util
import os
from collections.abc import Callable
from types import ModuleType

import torch

# Settled once: torch.compile can then take them for constants.
TRITON = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def compiled_functions() -> ModuleType | None:
    """The module of functions that Numba compiles; None where it is missing, or refuses this NumPy or this machine."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from act3d.kernels import numba_sampling as compiled
    except ImportError:
        return None
    return compiled


def exporting() -> bool:
    """Whether torch.export traces this code. torch tells from 2.7 on; `act3d export` refuses older ones."""
    tells: Callable[[], bool] | None = getattr(torch.compiler, "is_exporting", None)
    return tells is not None and tells()


def kernels_for(*tensors: torch.Tensor) -> ModuleType | None:
    """The module of kernels for these tensors; None where PyTorch does the work.

    Kernels run on float32 (all other work on CUDA stays with PyTorch), where Triton is installed; on the CPU only
    with TRITON_INTERPRET=1, slowly, for tests.
    """
    if not TRITON or exporting():
        return None
    for tensor in tensors:
        if tensor.dtype != torch.float32 or not (tensor.is_cuda or _INTERPRETED):
            return None
    from act3d.kernels import triton_geometry as kernels

    return kernels

"""Where compiled kernels can take over: Triton's from PyTorch on CUDA, Numba's from NumPy on the CPU."""

import functools
import importlib.util
import os
from types import ModuleType

import torch


@functools.cache
def _kernels() -> ModuleType | None:
    if importlib.util.find_spec("triton") is None:
        return None
    from act3d.geometry import kernels

    return kernels


@functools.cache
def compiled() -> ModuleType | None:
    """The module of functions that Numba compiles; None where it is missing, or refuses this NumPy or this machine."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from act3d.geometry import compiled
    except ImportError:
        return None
    return compiled


def kernels_for(*tensors: torch.Tensor) -> ModuleType | None:
    """The module of kernels for these tensors; None where PyTorch does the work.

    Kernels run on float32 (all other work on CUDA stays with PyTorch), where Triton is installed; on the CPU only
    with TRITON_INTERPRET=1, slowly, for tests.
    """
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    for tensor in tensors:
        if tensor.dtype != torch.float32 or not (tensor.is_cuda or interpreted):
            return None
    return None if torch.compiler.is_compiling() else _kernels()

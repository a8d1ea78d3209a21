"""Which form of an operation runs on these tensors: conditions, each with its reason. Nothing else decides.

The plain form of an operation stands where the operation stands, in geometry/ or models/; its faster equals stand in
this room.

| form | runs where |
|---|---|
| Triton kernels (`run_triton`) | CUDA, float32, Triton is installed and its kernels run on this device |
| Numba (`prefers_numba`) | CPU, large clouds, Numba is installed |
| k-d tree (`prefers_kd_tree`) | CPU, many queries among many points; NumPy compares all points with all elsewhere |
| oneDNN products (`prefers_onednn`) | CPU, float32, large products, AVX2 or AVX-512 but not Intel's |
| NumPy's arg-min (`prefers_numpy_argmin`) | CPU, along contiguous rows, or across short ones |
| random draws in bulk (`prefers_bulk_draws`) | CPU |
| batch norms folded into linear layers (`folds_batch_norm`) | CPU, plain `nn.BatchNorm1d` in one process |
| plain PyTorch | everywhere else, and while torch traces, compiles or exports |
"""

import functools
import importlib.util
import os
import platform
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from act3d.kernels import onednn
from act3d.kernels.fallback import attempt, has_failed

# Settled once: torch.compile can then take them for constants.
TRITON = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's interpreter on the CPU: slow, for tests

_NUMBA_POINTS = 4096  # points from which compiling pays; below, NumPy is as fast
_KD_TREE_POINTS, _KD_TREE_QUERIES = 4096, 64  # from which a k-d tree pays
_SHORT_ROWS = 64  # up to which NumPy is faster across rows; 256 x 32 x 32: a third of torch's time
_ONEDNN_MULTIPLICATIONS = 1 << 21  # multiplications of a product from which calling oneDNN pays


def tracing() -> bool:
    """Whether torch reads this code instead of running it: it fuses in its own way, and leaves sizes open."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def exporting() -> bool:
    """Whether torch.export traces this code. torch tells from 2.7 on; `act3d export` refuses older ones."""
    tells: Callable[[], bool] | None = getattr(torch.compiler, "is_exporting", None)
    return tells is not None and tells()


def run_triton(name: str, *arguments: Any, held: int = 0) -> Any:
    """Result of the kernel `name` of `triton_geometry`, or None where PyTorch has to do the work.

    A kernel that cannot be compiled for a device, or started on it, is reported by one warning; from then on PyTorch
    does the work on that device.

    Args:
        name: Of the kernel.
        arguments: Its arguments, tensors with coordinates among them.
        held: Points that one program of the kernel holds at a time; too many do not fit into its registers.
    """
    tensors = [argument for argument in arguments if isinstance(argument, torch.Tensor)]
    if not TRITON or exporting():
        return None
    for tensor in tensors:  # the kernels are written for float32
        if tensor.dtype != torch.float32 or not (tensor.is_cuda or _INTERPRETED):
            return None
    from act3d.kernels import triton_geometry

    if held > triton_geometry.LARGEST.get(name, held):
        return None
    kernel = getattr(triton_geometry, name)
    if tracing():  # nothing is started yet, so nothing can fail yet
        return kernel(*arguments)
    device = tensors[0].device
    return None if has_failed(device) else attempt(device, kernel, *arguments)


@functools.cache
def numba_functions() -> ModuleType | None:
    """The module of functions that Numba compiles; None where it is missing, or refuses this NumPy or this machine."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from act3d.kernels import numba_sampling
    except ImportError:
        return None
    return numba_sampling


def prefers_numba(points: torch.Tensor) -> bool:
    """Whether Numba, where it is installed, samples these points (B, N, 3)."""
    return points.device.type == "cpu" and points.shape[1] >= _NUMBA_POINTS


def prefers_kd_tree(query: torch.Tensor, points: torch.Tensor) -> bool:
    """Whether a k-d tree finds the neighbors of query (B, Q, 3) among points (B, N, 3) on the CPU."""
    return points.shape[1] >= _KD_TREE_POINTS and query.shape[1] >= _KD_TREE_QUERIES


def prefers_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether oneDNN multiplies x (..., K) by weight^T, weight (C, K)."""
    return (
        not tracing()  # first: what follows looks at sizes, which a trace must leave open
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() * weight.shape[0] >= _ONEDNN_MULTIPLICATIONS
        and _onednn_is_faster()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


@functools.cache
def _onednn_is_faster() -> bool:
    """Whether this is a processor with AVX2 or AVX-512, but not Intel's, and this torch has oneDNN's product.

    On processors of other makers MKL stays at half of what oneDNN reaches with AVX-512, and a sixth behind it with
    AVX2 (benchmarks/RESULTS.md).
    """
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return False
    info = Path("/proc/cpuinfo")
    maker = info.read_text() if info.exists() else platform.processor()
    return "Intel" not in maker and onednn.works()


def prefers_numpy_argmin(values: torch.Tensor, dim: int) -> bool:
    """Whether NumPy finds the smallest along an axis of values (B, N, M): up to eight times as fast as torch."""
    if tracing():  # first: what follows looks at sizes, which a trace must leave open
        return False
    return values.device.type == "cpu" and (dim == values.ndim - 1 or values.shape[-1] <= _SHORT_ROWS)


def prefers_bulk_draws(x: torch.Tensor) -> bool:
    """Whether exponential draws of x's shape are made by one uniform draw and one logarithm of all: twice as fast.

    On the CPU torch takes a logarithm after every draw of its one generator.
    """
    return x.device.type == "cpu"


def folds_batch_norm(rows: torch.Tensor, *norms: nn.Module) -> bool:
    """Whether these norms over rows (R, C) are folded into the linear layers before them."""
    if tracing():  # first: what follows looks at sizes, which a trace must leave open
        return False
    if rows.device.type != "cpu" or torch.is_autocast_enabled("cpu"):  # elsewhere cuDNN and autocast do well
        return False
    if rows.dtype not in (torch.float32, torch.float64):  # statistics by moments need the digits
        return False
    return all(
        type(norm) is nn.BatchNorm1d  # SyncBatchNorm has its statistics from several processes
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and norm.weight.dtype == rows.dtype
        and (rows.shape[0] > 1 or not norm.training)  # batch norm itself refuses statistics of one row
        for norm in norms
    )

"""The machine that the numbers were measured on."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from act3d.kernels.linear import matmul
from benchmarks.measure import Work, seconds


def matrix_peak(device: torch.device, dtype: torch.dtype = torch.float32, clock: str = "wall") -> float:
    """The best of several large square matrix products, in FLOP/s: of torch's own, and on the CPU of ours."""
    size = 8192 if device.type == "cuda" else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)
    out = torch.empty_like(a)
    ways: list[Work] = [lambda: torch.mm(a, b, out=out)]
    if device.type == "cpu":
        ways.append(lambda: matmul(a, b))
    best = min(seconds(way, device, clock) for _ in range(8) for way in ways)
    return 2.0 * size**3 / best


def describe(device: torch.device) -> dict[str, Any]:
    """Machine, versions and load, JSON-able; the peak is added by the caller, who measures it beside the rows."""
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT", ""),
    }
    if device.type == "cuda":
        found["cuda"] = torch.version.cuda
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            extensions = torch.backends.cpu.get_cpu_capability()
            return f"{line.split(':', 1)[1].strip()} ({extensions})"
    return platform.processor()

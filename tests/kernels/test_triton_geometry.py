"""The Triton kernels: by the interpreter on the CPU, in a process of its own, and on CUDA where there is one."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d import geometry
from act3d.kernels import dispatch
from act3d.kernels.dispatch import run_triton
from tests.geometry.clouds import KINDS, make_cloud
from tests.helpers import run_interpreted

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@needs_triton
def test_kernels_by_the_interpreter() -> None:
    run_interpreted(Path(__file__).parent / "interpreted_kernels.py")


def test_cpu_tensors_stay_with_pytorch_and_triton_is_not_imported() -> None:
    code = """
import sys, torch
from act3d import geometry
geometry.patchify(torch.randn(1, 40, 3), 4, 8)
geometry.chamfer(torch.randn(1, 4, 3), torch.randn(1, 5, 3))
assert "act3d.kernels.triton_geometry" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert run_triton("farthest_point_sample", torch.randn(1, 2, 3), 1, 0) is None


def test_without_triton_pytorch_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_INTERPRETED", True)
    monkeypatch.setattr(dispatch, "TRITON", False)
    assert run_triton("farthest_point_sample", torch.randn(1, 2, 3), 1, 0) is None
    assert geometry.patchify(torch.randn(1, 40, 3), 4, 8).centers.shape == (1, 4, 3)


class PretendedDevice:
    """What Triton asks of a device to compile for it."""

    def __init__(self, capability: int):
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0


@needs_triton
@pytest.mark.parametrize("capability", [80, 90])  # A100, H100 and H200
def test_kernels_compile_for_gpus_that_are_not_here(capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    from act3d.kernels import triton_geometry as kernels

    if not hasattr(driver, "_active"):
        pytest.skip("this Triton has no driver to be replaced (torch 2.4 brings 3.0)")
    compiled: list[tuple[str, Any]] = []
    launch = JITFunction.run

    def compile_only(function: Any, *given: Any, **options: Any) -> Any:
        compiled.append((function.fn.__name__, launch(function, *given, **(options | {"warmup": True}))))
        return compiled[-1][1]

    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(driver, "_active", PretendedDevice(capability))
    for number, count in ((1024, 64), (8192, 512)):
        points = torch.zeros(2, number, 3)
        kernels.farthest_point_sample(points, count, 0)
        kernels.knn(points[:, :count], points, 32, gather=True)
    for size in (32, kernels.LARGEST["chamfer"]):
        points = torch.zeros(2, size, 3, requires_grad=True)
        kernels.chamfer(points, torch.zeros(2, size, 3), norm=1).sum().backward()
    assert len(compiled) == 8
    for name, kernel in compiled:
        assert kernel.asm["cubin"], name
        assert "fma." not in kernel.asm["ptx"], name  # every product and every sum is rounded, as in PyTorch


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_on_cuda_pick_what_the_cpu_picks(kind: str) -> None:
    points = make_cloud(kind, 3, 1024, seed=0, dtype=torch.float32)
    device = points.cuda()
    assert run_triton("farthest_point_sample", device, 1, 0) is not None
    for count, start in ((64, 0), (1024, 5)):
        expected = geometry.farthest_point_sample(points, count, start)
        assert torch.equal(geometry.farthest_point_sample(device, count, start).cpu(), expected)
    query = points[:, :64]
    assert torch.equal(geometry.knn(device[:, :64], device, 32).cpu(), geometry.knn(query, points, 32))
    expected, found = geometry.patchify(points, 64, 32), geometry.patchify(device, 64, 32)
    assert torch.equal(found.neighborhoods.cpu(), expected.neighborhoods)


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("number", [8192, 16384, 20000])
def test_large_clouds_on_cuda(number: int) -> None:
    points = make_cloud("gaussian", 2, number, seed=0, dtype=torch.float32)
    expected, found = geometry.patchify(points, 512, 32), geometry.patchify(points.cuda(), 512, 32)
    assert torch.equal(found.centers.cpu(), expected.centers)
    assert torch.equal(found.neighborhoods.cpu(), expected.neighborhoods)


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("sizes", [(32, 32), (8, 32), (1, 128)])
def test_chamfer_on_cuda(norm: int, sizes: tuple[int, int]) -> None:
    a, b = (make_cloud("gaussian", 50, n, seed=n, dtype=torch.float32).requires_grad_() for n in sizes)
    c, d = (x.detach().cuda().requires_grad_() for x in (a, b))
    expected, found = geometry.chamfer(a, b, norm), geometry.chamfer(c, d, norm)
    torch.testing.assert_close(found.cpu(), expected)
    wanted = torch.autograd.grad(expected, (a, b))
    for mine, theirs in zip(torch.autograd.grad(found, (c, d)), wanted, strict=True):
        torch.testing.assert_close(mine.cpu(), theirs)

"""Which form runs, and what happens where a faster one cannot."""

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import act3d.kernels
from act3d import geometry
from act3d.kernels import dispatch, fallback, onednn

NAMES = ("farthest_point_sample", "knn", "chamfer")


@pytest.fixture
def failing_kernels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kernels that cannot be compiled, as on a machine without a C compiler; the names of those that were tried."""
    tried: list[str] = []

    def failing(name: str) -> Any:
        def kernel(*_: Any) -> None:
            tried.append(name)
            raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

        return kernel

    module = SimpleNamespace(LARGEST={}, **{name: failing(name) for name in NAMES})
    monkeypatch.setitem(sys.modules, "act3d.kernels.triton_geometry", module)
    monkeypatch.setattr(act3d.kernels, "triton_geometry", module, raising=False)
    monkeypatch.setattr(dispatch, "TRITON", True)
    monkeypatch.setattr(dispatch, "_INTERPRETED", True)
    monkeypatch.setattr(fallback, "_FAILED", set())
    return tried


def everything(points: torch.Tensor) -> list[torch.Tensor]:
    moving = points[:, :6].clone().requires_grad_()
    distance = geometry.chamfer(moving, points[:, 6:11])
    distance.backward()
    picked = geometry.farthest_point_sample(points, 5)
    return [*geometry.patchify(points, 4, 8), geometry.knn(points, points, 3), picked, distance.detach(), moving.grad]


def test_kernels_that_do_not_run_are_replaced_after_one_warning(failing_kernels: list[str]) -> None:
    points = torch.randn(2, 40, 3)
    with pytest.warns(
        RuntimeWarning, match=r"does not run on cpu \(RuntimeError: Failed to find C compiler.\)"
    ) as seen:
        found = everything(points)
    assert len(seen) == 1
    assert failing_kernels == ["chamfer"]  # tried once, not at every call
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        patch.setattr(dispatch, "TRITON", False)
        expected = everything(points)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_a_full_gpu_is_no_reason_to_go_on_with_a_form_that_needs_more(
    failing_kernels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sys.modules["act3d.kernels.triton_geometry"], "knn", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        geometry.knn(torch.randn(1, 9, 3), torch.randn(1, 9, 3), 2)
    assert not fallback._FAILED


@pytest.mark.parametrize(
    "operator",
    [
        lambda x, weight: x @ weight.t(),  # other arguments
        lambda x, weight, *_: x @ weight.t(),  # another meaning: no bias
    ],
)
def test_a_torch_whose_onednn_operator_differs_does_without(operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", operator, raising=False)
    onednn.works.cache_clear()
    try:
        assert not onednn.works()
    finally:
        onednn.works.cache_clear()


def test_few_points_are_no_matter_for_trees() -> None:
    points = torch.randn(1, 4096, 3)
    assert dispatch.prefers_kd_tree(points[:, :64], points)
    assert not dispatch.prefers_kd_tree(points[:, :63], points)
    assert not dispatch.prefers_kd_tree(points, points[:, :4095])

"""Sampling compiled by Numba against the NumPy loop, and what happens without Numba."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act3d.geometry import farthest_point_sample, sampling
from act3d.kernels import dispatch
from tests.geometry.clouds import KINDS, clouds, make_cloud

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")


@pytest.fixture(scope="module", autouse=True)
def _compile() -> None:
    """Once for each dtype, so that no single test waits for it."""
    for dtype in (np.float32, np.float64):
        _sample(np.zeros((1, 2, 3), dtype), 1, 0)


def _sample(points: np.ndarray, count: int, start: int, threads: int = 1) -> np.ndarray:
    from act3d.kernels import numba_sampling as compiled

    return compiled.farthest_point_sample(points, count, start, threads)


@given(clouds(max_points=100), st.data())
def test_equals_the_numpy_loop(points: torch.Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, points.shape[1]))
    start = data.draw(st.integers(0, points.shape[1] - 1))
    expected = sampling._sample_numpy(points.numpy(), count, start)
    assert np.array_equal(_sample(points.numpy(), count, start), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_numpy_loop_over_many_groups(kind: str, dtype: torch.dtype) -> None:
    points = make_cloud(kind, 3, 2500, 4, dtype).numpy()
    assert np.array_equal(_sample(points, 2500, 1234, threads=2), sampling._sample_numpy(points, 2500, 1234))


@pytest.mark.parametrize("size", [1e19, 1e25, 3e38])
def test_distances_that_overflow(size: float) -> None:
    points = (torch.rand(2, 200, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 2 * size
    assert np.array_equal(_sample(points.numpy(), 200, 3), sampling._sample_numpy(points.numpy(), 200, 3))


def test_views_of_other_arrays_are_read_as_they_are() -> None:
    points = np.random.default_rng(0).normal(size=(2, 90, 6))[:, ::2, 3:]
    assert np.array_equal(_sample(points, 20, 0), sampling._sample_numpy(points, 20, 0))


@pytest.mark.parametrize("installed", [True, False])
def test_large_clouds_are_sampled_with_it_where_it_is_there(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    module = SimpleNamespace(farthest_point_sample=lambda *given: called.append(given[1:]) or _sample(*given))
    monkeypatch.setattr(sampling, "numba_functions", lambda: module if installed else None)
    points = torch.randn(2, dispatch._NUMBA_POINTS, 3)
    small = farthest_point_sample(points[:, :-1], 5)
    assert not called
    large = farthest_point_sample(points, 70, 9)
    assert called == ([(70, 9, torch.get_num_threads())] if installed else [])
    assert torch.equal(large, torch.from_numpy(sampling._sample_numpy(points.numpy(), 70, 9)))
    assert small.shape == (2, 5)


def test_numba_that_is_missing_or_refuses_to_be_imported_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch.numba_functions.cache_clear()
    try:
        assert dispatch.numba_functions() is not None
        dispatch.numba_functions.cache_clear()
        monkeypatch.delitem(sys.modules, "act3d.kernels.numba_sampling")
        monkeypatch.delattr("act3d.kernels.numba_sampling")
        monkeypatch.setitem(sys.modules, "numba", None)  # importing it now raises ImportError
        monkeypatch.setattr(dispatch.importlib.util, "find_spec", lambda name: object())
        assert dispatch.numba_functions() is None
        dispatch.numba_functions.cache_clear()
        monkeypatch.setattr(dispatch.importlib.util, "find_spec", lambda name: None)
        assert dispatch.numba_functions() is None
    finally:
        dispatch.numba_functions.cache_clear()


def test_where_nothing_can_be_written_it_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from act3d.kernels import numba_sampling as compiled

    def no_place(*, cache: bool = False, **options: object):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    monkeypatch.setattr(numba, "njit", no_place)
    function, options = compiled._compiled(max)
    assert function is max
    assert options["nogil"]

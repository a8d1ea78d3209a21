"""k nearest neighbors against a stable sort of all distances."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act3d.errors import InputError
from act3d.geometry import gather, knn, neighbors
from act3d.kernels import dispatch, nearest
from benchmarks.textbook import geometry as textbook
from tests.geometry.clouds import KINDS, clouds, make_cloud


@pytest.fixture(scope="module", autouse=True, params=["as dispatched", "by distances", "by k-d trees"])
def form(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything three times: by the form that is chosen, and all by one of the two."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "as dispatched":
            least = 0 if request.param == "by k-d trees" else math.inf
            patch.setattr(dispatch, "_KD_TREE_POINTS", least)
            patch.setattr(dispatch, "_KD_TREE_QUERIES", least)
        yield


def distances(query: torch.Tensor, points: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return (gather(points, indices) - query[:, :, None]).square().sum(-1)


@given(clouds(), st.data())
def test_equals_a_stable_sort(points: torch.Tensor, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, points.shape[1]))
    found = knn(points, points, k)
    assert found.dtype == torch.int64
    assert torch.equal(found, textbook.knn(points, points, k))


@given(clouds(), clouds(), st.data())
def test_other_queries_than_the_points(query: torch.Tensor, points: torch.Tensor, data: st.DataObject) -> None:
    points = points.to(query.dtype)
    batch = min(len(query), len(points))
    k = data.draw(st.integers(1, points.shape[1]))
    query, points = query[:batch], points[:batch]
    assert torch.equal(knn(query, points, k), textbook.knn(query, points, k))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("queries", "number", "k"), [(64, 1024, 32), (64, 64, 4), (200, 128, 3), (128, 2048, 32)])
def test_equals_a_stable_sort_at_released_sizes(
    kind: str, queries: int, number: int, k: int, dtype: torch.dtype
) -> None:
    points = make_cloud(kind, 2, max(queries, number), 5, dtype)
    query, points = points[:, :queries], points[:, :number]
    assert torch.equal(knn(query, points, k), textbook.knn(query, points, k))


def test_a_large_search_runs_in_parts_with_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(2, 50, 3)
    whole = knn(points, points, 7)
    monkeypatch.setattr(nearest, "_PAIRS", 350)  # 7 queries at a time
    assert torch.equal(knn(points, points, 7), whole)


def test_threads_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(5, 80, 3)
    whole = knn(points, points, 7)
    monkeypatch.setattr(nearest, "_THREAD_PAIRS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(knn(points, points, 7), whole)


def test_the_search_of_other_devices_gives_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """By products, in parts; on the CPU it runs only in compiled code."""
    points = torch.randn(2, 50, 3, dtype=torch.float64)
    whole = knn(points, points, 7)
    monkeypatch.setattr(neighbors, "tracing", lambda: True)
    monkeypatch.setattr(neighbors, "_ENTRIES", 700)  # 7 queries at a time
    assert torch.equal(knn(points, points, 7), whole)


def test_points_with_a_gradient_are_searched_too() -> None:
    points = torch.randn(1, 50, 3, requires_grad=True)
    assert torch.equal(knn(points, points, 4), knn(points.detach(), points.detach(), 4))


def test_exact_ties_go_to_the_lower_index() -> None:
    # A middle of 1/3: centring the cloud first would round the ties away.
    points = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0], [2, 1, 0]]])
    assert knn(points[:, 4:5], points, 6).tolist() == [[[4, 0, 1, 2, 3, 5]]]
    assert knn(points[:, 4:5] + 1 / 3, points + 1 / 3, 1).tolist() == [[[4]]]


def test_many_duplicates_beyond_the_spare_candidates() -> None:
    points = torch.zeros(1, 100, 3)
    points[0, 50] = 1.0
    assert knn(points[:, :1], points, 5).tolist() == [[[0, 1, 2, 3, 4]]]
    assert knn(points[:, 50:51], points, 3).tolist() == [[[50, 0, 1]]]


@pytest.mark.parametrize("kind", ["gaussian", "grid", "duplicates"])
def test_equals_a_stable_sort_of_many_points(kind: str) -> None:
    points = make_cloud(kind, 1, 8192, 5, torch.float32)
    assert torch.equal(knn(points[:, :512], points, 32), textbook.knn(points[:, :512], points, 32))


def test_ties_just_beyond_the_spare_candidates() -> None:
    """Points on spheres around the query: more of them at the k-th distance than any search takes candidates."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-2.0, 2.0) for z in (-3.0, 3.0)])
    sphere = torch.cat([corners[:, list(order)] for order in itertools.permutations(range(3))])
    points = torch.cat([sphere / 4, sphere / 2, sphere])[torch.randperm(144, generator=generator)].unsqueeze(0)
    query = torch.zeros(1, 1, 3)  # all 48 points of a sphere are exactly as near
    for k in (1, 20, 47, 48, 49, 95, 100, 143):
        assert torch.equal(knn(query, points, k), textbook.knn(query, points, k))


@pytest.mark.parametrize("scale", [1e-30, 1e-160, 1e155, 1e300])
def test_squares_out_of_the_range_of_numbers(scale: float) -> None:
    """1e-160 and 1e155 squared are 0 and infinite even in float64."""
    dtype = torch.float32 if scale == 1e-30 else torch.float64
    points = torch.randn(1, 60, 3, dtype=dtype, generator=torch.Generator().manual_seed(0)) * scale
    assert torch.equal(knn(points, points, 9), textbook.knn(points, points, 9))


@pytest.mark.parametrize("k", [2, 4, 6])
def test_distances_that_overflow_count_as_equal(k: int) -> None:
    points = torch.tensor([[[3e38, 0, 0], [0, 0, 0], [-3e38, 0, 0], [1, 0, 0], [0, 3e38, 0], [2, 0, 0]]])
    assert torch.equal(knn(points, points, k), textbook.knn(points, points, k))


@pytest.mark.parametrize("offset", [10.0, 1e3, 1e5])
def test_far_from_the_origin(offset: float) -> None:
    points = torch.rand(1, 500, 3) + offset
    assert torch.equal(knn(points[:, :50], points, 16), textbook.knn(points[:, :50], points, 16))


def test_two_tight_clusters_far_apart() -> None:
    points = make_cloud("clusters", 1, 1000, 0, torch.float32)
    assert torch.equal(knn(points[:, :100], points, 16), textbook.knn(points[:, :100], points, 16))


@given(clouds(min_points=4))
def test_distances_ascend(points: torch.Tensor) -> None:
    found = distances(points, points, knn(points, points, 4))
    assert (found[:, :, 1:] >= found[:, :, :-1]).all()


@given(clouds(min_points=6))
def test_one_by_one_equals_batched(points: torch.Tensor) -> None:
    assert torch.equal(knn(points, points, 5), torch.cat([knn(cloud[None], cloud[None], 5) for cloud in points]))


def test_permuting_the_points_permutes_the_indices() -> None:
    points, order = torch.randn(2, 40, 3, dtype=torch.float64), torch.randperm(40)
    assert torch.equal(order[knn(points, points[:, order], 6)], knn(points, points, 6))


@pytest.mark.parametrize("k", [0, 11])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=rf"{k}.*10"):
        knn(torch.randn(2, 5, 3), torch.randn(2, 10, 3), k)


def test_different_batches_are_refused_with_both_shapes() -> None:
    with pytest.raises(InputError, match=r"\(2, 5, 3\).*\(3, 10, 3\)"):
        knn(torch.randn(2, 5, 3), torch.randn(3, 10, 3), 2)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["gaussian", "planar", "sphere", "collinear"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_equals_cpu(kind: str, dtype: torch.dtype) -> None:
    points = make_cloud(kind, 3, 300, 1, dtype)
    assert torch.equal(knn(points.cuda(), points.cuda(), 9).cpu(), knn(points, points, 9))

"""Farthest point sampling against the plain loop, and what it refuses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act3d.errors import InputError
from act3d.geometry import farthest_point_sample, gather
from benchmarks.textbook import geometry as textbook
from tests.geometry.clouds import KINDS, clouds, make_cloud


@given(clouds(), st.data())
def test_equals_the_plain_loop(points: torch.Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, points.shape[1]))
    start = data.draw(st.integers(0, points.shape[1] - 1))
    found = farthest_point_sample(points, count, start)
    assert found.dtype == torch.int64
    assert torch.equal(found, textbook.farthest_point_sample(points, count, start))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_plain_loop_at_a_released_size(dtype: torch.dtype) -> None:
    points = torch.randn(4, 1024, 3, dtype=dtype)
    assert torch.equal(farthest_point_sample(points, 64), textbook.farthest_point_sample(points, 64))


@pytest.mark.parametrize("kind", KINDS)
def test_all_points_taken_once_when_count_is_their_number(kind: str) -> None:
    points = make_cloud(kind, 2, 20, 3)
    found = farthest_point_sample(points, 20)
    distinct = [len(cloud.unique(dim=0)) for cloud in points]
    for row, cloud, expected in zip(found, points, distinct, strict=True):
        assert len(cloud[row].unique(dim=0)) == expected  # every distinct place is reached
        assert len(cloud[row[:expected]].unique(dim=0)) == expected  # before any is repeated


def test_ties_go_to_the_lower_index() -> None:
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]])
    assert farthest_point_sample(points, 5).tolist() == [[0, 1, 2, 3, 4]]


def test_duplicates_only_repeat_index_zero() -> None:
    assert farthest_point_sample(torch.ones(1, 4, 3), 3, start=2).tolist() == [[2, 0, 0]]


@given(clouds(min_points=3))
def test_each_pick_is_the_farthest_from_those_before(points: torch.Tensor) -> None:
    found = farthest_point_sample(points, 3, start=1)
    assert (found[:, 0] == 1).all()
    distance = textbook.square_distance(points, gather(points, found[:, :2])).amin(dim=2)
    assert torch.equal(gather(distance[..., None], found[:, 2:]).squeeze(-1), distance.amax(dim=1, keepdim=True))


@given(clouds(min_points=8, dtypes=(torch.float64,)))
def test_one_by_one_equals_batched(points: torch.Tensor) -> None:
    together = farthest_point_sample(points, 5)
    assert torch.equal(together, torch.cat([farthest_point_sample(cloud[None], 5) for cloud in points]))


def test_permuting_the_points_permutes_the_picks() -> None:
    points = torch.randn(2, 50, 3, dtype=torch.float64)  # distinct distances: no ties
    order = torch.randperm(50)
    start = int((order == 0).nonzero())
    assert torch.equal(order[farthest_point_sample(points[:, order], 12, start)], farthest_point_sample(points, 12))


def test_huge_coordinates_whose_squares_overflow_stay_in_range() -> None:
    found = farthest_point_sample(torch.randn(1, 10, 3) * 1e25, 10)
    assert int(found.min()) >= 0
    assert int(found.max()) < 10


def test_no_gradient_is_kept() -> None:
    assert not farthest_point_sample(torch.randn(1, 9, 3, requires_grad=True), 4).requires_grad


def test_half_precision_is_raised() -> None:
    points = torch.randn(1, 30, 3).half()
    assert torch.equal(farthest_point_sample(points, 9), farthest_point_sample(points.float(), 9))


@pytest.mark.parametrize("count", [0, -1, 11])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=rf"{count}.*10"):
        farthest_point_sample(torch.randn(2, 10, 3), count)


@pytest.mark.parametrize("start", [-1, 10])
def test_a_start_out_of_range_is_refused(start: int) -> None:
    with pytest.raises(InputError, match="start"):
        farthest_point_sample(torch.randn(2, 10, 3), 2, start)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_equals_cpu(kind: str, dtype: torch.dtype) -> None:
    points = make_cloud(kind, 3, 300, 1, dtype)
    assert torch.equal(farthest_point_sample(points.cuda(), 40, 7).cpu(), farthest_point_sample(points, 40, 7))

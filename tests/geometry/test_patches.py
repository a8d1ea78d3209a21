"""Patches: centres, their neighbours, relative coordinates."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act3d.errors import InputError
from act3d.geometry import gather, patchify
from benchmarks.textbook import geometry as textbook
from tests.geometry.clouds import KINDS, clouds, make_cloud


@given(clouds(), st.data())
def test_equals_the_textbook(points: torch.Tensor, data: st.DataObject) -> None:
    number = points.shape[1]
    patches, size = data.draw(st.integers(1, number)), data.draw(st.integers(1, number))
    start = data.draw(st.integers(0, number - 1))
    found = patchify(points, patches, size, start)
    neighborhoods, centers = textbook.group(points, patches, size, start)
    assert torch.equal(found.centers, centers)
    assert torch.equal(found.neighborhoods, neighborhoods)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_textbook_at_the_released_size(dtype: torch.dtype) -> None:
    points = torch.randn(2, 1024, 3, dtype=dtype)
    found, (neighborhoods, centers) = patchify(points, 64, 32), textbook.group(points, 64, 32)
    assert found.neighborhoods.shape == (2, 64, 32, 3)
    assert torch.equal(found.centers, centers)
    assert torch.equal(found.neighborhoods, neighborhoods)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_patches_as_points(kind: str) -> None:
    points = make_cloud(kind, 2, 12, 0)
    found = patchify(points, 12, 12)
    assert found.centers.shape == (2, 12, 3)
    assert (found.neighborhoods[:, :, 0] == 0).all()  # the nearest of every centre is itself


@given(clouds(min_points=9))
def test_the_center_comes_first_and_distances_ascend(points: torch.Tensor) -> None:
    neighborhoods, centers = patchify(points, 4, 6)
    assert (neighborhoods[:, :, 0] == 0).all()
    # Rounding of "neighbour - centre" is exact to the last digit of the difference itself.
    distance = neighborhoods.square().sum(-1)
    assert (distance[:, :, 1:] >= distance[:, :, :-1]).all()
    assert torch.isin(centers, points).all()


def test_gradients_reach_the_points() -> None:
    points = torch.randn(1, 20, 3, dtype=torch.float64, requires_grad=True)

    def fast(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(patchify(p, 3, 5))

    assert torch.autograd.gradcheck(fast, points)


@pytest.mark.parametrize(("patches", "size"), [(11, 4), (4, 11), (0, 4), (4, 0)])
def test_too_few_points_are_refused_with_the_shape(patches: int, size: int) -> None:
    with pytest.raises(InputError, match=r"\(2, 10, 3\)"):
        patchify(torch.randn(2, 10, 3), patches, size)


def test_gather_picks_rows_for_any_index_shape() -> None:
    values = torch.randn(3, 7, 5, requires_grad=True)
    for shape in ((3, 2), (3, 2, 4), (3, 1, 2, 3)):
        indices = torch.randint(7, shape)
        assert torch.equal(gather(values, indices), textbook.index_points(values, indices))
    (found,) = torch.autograd.grad(gather(values, indices).square().sum(), values)
    (expected,) = torch.autograd.grad(textbook.index_points(values, indices).square().sum(), values)
    torch.testing.assert_close(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_equals_cpu(dtype: torch.dtype) -> None:
    points = torch.randn(4, 1024, 3, dtype=dtype)
    found, expected = patchify(points.cuda(), 64, 32), patchify(points, 64, 32)
    assert torch.equal(found.centers.cpu(), expected.centers)
    assert torch.equal(found.neighborhoods.cpu(), expected.neighborhoods)

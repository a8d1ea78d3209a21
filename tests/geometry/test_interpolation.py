"""Inverse-distance interpolation against the textbook."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act3d.errors import InputError
from act3d.geometry import interpolate
from benchmarks.textbook import geometry as textbook
from tests.geometry.clouds import clouds


@given(clouds(min_points=3), st.integers(1, 3))
def test_equals_the_textbook(points: torch.Tensor, k: int) -> None:
    centers = points[:, : max(3, points.shape[1] // 2)]
    features = torch.randn(*centers.shape[:2], 5, dtype=points.dtype)
    found = interpolate(points, centers, features, k)
    expected = textbook.interpolate(points, centers, features, k)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if points.dtype == torch.float32 else 1e-9)


def test_gradients_equal_the_textbook_in_float64() -> None:
    tensors = [torch.randn(2, n, c, dtype=torch.float64, requires_grad=True) for n, c in ((50, 3), (12, 3), (12, 7))]
    cotangent = torch.randn(2, 50, 7, dtype=torch.float64)
    found = torch.autograd.grad(interpolate(*tensors), tensors, cotangent)
    expected = torch.autograd.grad(textbook.interpolate(*tensors), tensors, cotangent)
    for ours, plain in zip(found, expected, strict=True):
        assert float((ours - plain).abs().max()) <= 1e-9 * float(plain.abs().max())


def test_gradcheck() -> None:
    tensors = [torch.randn(1, n, c, dtype=torch.float64, requires_grad=True) for n, c in ((4, 3), (6, 3), (6, 2))]
    assert torch.autograd.gradcheck(interpolate, tensors)


def test_at_a_center_its_own_features() -> None:
    centers, features = torch.randn(2, 9, 3, dtype=torch.float64), torch.randn(2, 9, 4, dtype=torch.float64)
    torch.testing.assert_close(interpolate(centers, centers, features), features, rtol=0, atol=1e-6)


def test_fewer_centers_than_neighbours_mixes_all() -> None:
    query, centers = torch.randn(2, 5, 3), torch.randn(2, 2, 3)
    found = interpolate(query, centers, torch.ones(2, 2, 4))
    torch.testing.assert_close(found, torch.ones(2, 5, 4))


def test_stays_between_the_features_it_mixes() -> None:
    features = torch.rand(2, 9, 4)
    found = interpolate(torch.randn(2, 30, 3) * 100, torch.randn(2, 9, 3), features)
    assert (found >= features.amin() - 1e-6).all()
    assert (found <= features.amax() + 1e-6).all()


@pytest.mark.parametrize("shape", [(2, 8, 4), (1, 9, 4), (2, 9)])
def test_features_that_do_not_fit_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\(2, 9, 3\)"):
        interpolate(torch.randn(2, 5, 3), torch.randn(2, 9, 3), torch.zeros(shape))


@pytest.mark.gpu
def test_cuda_equals_cpu() -> None:
    tensors = [torch.randn(2, n, c, dtype=torch.float64) for n, c in ((50, 3), (12, 3), (12, 7))]
    torch.testing.assert_close(interpolate(*[t.cuda() for t in tensors]).cpu(), interpolate(*tensors))

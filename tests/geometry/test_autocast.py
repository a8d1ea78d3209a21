"""Under mixed precision geometry stays exact: who is nearest is no matter of 8 bits."""

import pytest
import torch

from act3d.geometry import chamfer, f_score, farthest_point_sample, knn, patchify
from act3d.geometry.precision import without_autocast
from tests.geometry.clouds import make_cloud

POINTS = make_cloud("sphere", 2, 600, 0, torch.float32)
QUERY = POINTS[:, :100] * 1.01


@pytest.mark.parametrize("k", [1, 4, 32])
def test_neighbors(k: int) -> None:
    expected = knn(QUERY, POINTS, k)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(knn(QUERY, POINTS, k), expected)


def test_patches() -> None:
    expected = patchify(POINTS, 20, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = patchify(POINTS, 20, 16)
        assert torch.equal(farthest_point_sample(POINTS, 9), farthest_point_sample(POINTS, 9))
    assert torch.equal(found.neighborhoods, expected.neighborhoods)


@pytest.mark.parametrize("norm", [1, 2])
def test_distances_and_their_gradient(norm: int) -> None:
    results = []
    for enabled in (False, True):
        a = QUERY.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            distance = chamfer(a, POINTS, norm)
            results.append((distance, *torch.autograd.grad(distance, a), f_score(QUERY, POINTS, 0.02)))
    assert results[1][0].dtype == torch.float32
    torch.testing.assert_close(results[1], results[0], atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_points_of_half_precision_are_raised_before_they_are_compared(dtype: torch.dtype) -> None:
    half = QUERY.to(dtype)
    assert torch.equal(chamfer(half, POINTS), chamfer(half.float(), POINTS))
    assert torch.equal(chamfer(half, half), chamfer(half.float(), half.float()))
    assert torch.equal(f_score(half, POINTS), f_score(half.float(), POINTS))


def test_a_gradient_comes_back_in_the_precision_of_the_points() -> None:
    half = QUERY.bfloat16().requires_grad_()
    (gradient,) = torch.autograd.grad(chamfer(half, POINTS), half)
    assert gradient.dtype == torch.bfloat16
    assert gradient.abs().sum() > 0


def test_neighbors_are_found_in_full_float32_where_training_uses_tf32() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        points = torch.rand(1, 4)
        with without_autocast(points):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)

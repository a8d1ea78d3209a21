"""Chamfer distance and F-score against all pairwise distances."""

import pytest
import torch
from hypothesis import given

from act3d.errors import InputError
from act3d.geometry import chamfer, distances, f_score, reconstruction_scores
from benchmarks.textbook import geometry as textbook
from tests.geometry.clouds import KINDS, clouds, make_cloud

PLAIN = {1: textbook.chamfer_l1, 2: textbook.chamfer_l2}


def allowance(a: torch.Tensor, b: torch.Tensor, norm: int) -> float:
    """How far a nearest point found through rounded squares may be: sqrt(eps) of the extent, for a few eps."""
    extent = max(float((a - b.mean(1, keepdim=True)).abs().max()), float((b - b.mean(1, keepdim=True)).abs().max()))
    squared = 64 * torch.finfo(a.dtype).eps * extent**2
    return squared**0.5 if norm == 1 else squared


@pytest.mark.parametrize("norm", [1, 2])
@given(a=clouds(), b=clouds())
def test_equals_the_textbook(norm: int, a: torch.Tensor, b: torch.Tensor) -> None:
    batch = min(len(a), len(b))
    a, b = a[:batch], b[:batch].to(a.dtype)
    found, expected = chamfer(a, b, norm), PLAIN[norm](a, b)
    assert float((found - expected).abs()) <= 1e-5 * float(expected) + allowance(a, b, norm)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize(("n", "m"), [(32, 32), (8, 32), (2048, 1024), (1, 5)])
def test_equals_the_textbook_in_float64(norm: int, n: int, m: int) -> None:
    a = torch.randn(3, n, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, m, 3, dtype=torch.float64, requires_grad=True)
    found, expected = chamfer(a, b, norm), PLAIN[norm](a, b)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for ours, plain in zip(torch.autograd.grad(found, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9 * float(plain.abs().max()))


@pytest.mark.parametrize("norm", [1, 2])
def test_per_cloud(norm: int) -> None:
    a, b = torch.randn(4, 30, 3), torch.randn(4, 20, 3)
    each = chamfer(a, b, norm, reduction="none")
    assert each.shape == (4,)
    torch.testing.assert_close(each.mean(), chamfer(a, b, norm))
    torch.testing.assert_close(each, torch.stack([chamfer(a[i : i + 1], b[i : i + 1], norm) for i in range(4)]))


@pytest.mark.parametrize("norm", [1, 2])
def test_gradcheck(norm: int) -> None:
    a = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: chamfer(x, y, norm, "none"), (a, b))


@pytest.mark.parametrize("norm", [1, 2])
def test_coincident_clouds_have_zero_distance_and_a_finite_gradient(norm: int) -> None:
    a = torch.randn(2, 50, 3, requires_grad=True)
    value = chamfer(a, a.detach().clone(), norm)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("norm", [1, 2])
def test_symmetric_and_blind_to_order(norm: int) -> None:
    a, b = torch.randn(2, 40, 3, dtype=torch.float64), torch.randn(2, 30, 3, dtype=torch.float64)
    torch.testing.assert_close(chamfer(a, b, norm), chamfer(b, a, norm))
    torch.testing.assert_close(chamfer(a, b, norm), chamfer(a[:, torch.randperm(40)], b[:, torch.randperm(30)], norm))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_with_the_clouds(scale: float) -> None:
    a, b = torch.randn(2, 40, 3), torch.randn(2, 40, 3)
    torch.testing.assert_close(chamfer(a * scale, b * scale, 1), chamfer(a, b, 1) * scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(chamfer(a * scale, b * scale, 2), chamfer(a, b, 2) * scale**2, rtol=1e-4, atol=0)


def test_far_from_the_origin() -> None:
    a, b = torch.rand(1, 200, 3) + 1e4, torch.rand(1, 200, 3) + 1e4
    torch.testing.assert_close(chamfer(a, b), textbook.chamfer_l1(a, b), rtol=1e-3, atol=0)


def test_other_norms_and_batches_are_refused() -> None:
    a = torch.randn(2, 5, 3)
    with pytest.raises(InputError, match="norm"):
        chamfer(a, a, norm=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(2, 5, 3\).*\(1, 5, 3\)"):
        chamfer(a, a[:1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_f_score_equals_the_textbook(kind: str, dtype: torch.dtype) -> None:
    a = make_cloud(kind, 3, 60, 1, dtype)
    b = a + 0.01 * torch.randn_like(a)
    found = f_score(a, b, 0.0123)
    assert found.shape == (3,)
    torch.testing.assert_close(found, textbook.f_score(a, b, 0.0123), rtol=0, atol=1e-6)
    assert float(found.min()) > 0
    assert float(found.max()) <= 1


def test_f_score_of_the_same_of_nothing_near_and_of_half() -> None:
    a = make_cloud("grid", 1, 10, 0)
    assert float(f_score(a, a)) == 1
    assert float(f_score(a, a + 100)) == 0
    half = a.clone()
    half[0, 5:] += 100
    recall = float((textbook.square_distance(a, half).amin(2) < 1e-4).double().mean())
    assert float(f_score(half, a)) == pytest.approx(2 * 0.5 * recall / (0.5 + recall))


def test_scores_of_a_reconstruction_are_the_three_measures_by_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.rand(3, 90, 3), torch.rand(3, 70, 3)
    expected = torch.stack([f_score(a, b, 0.1), *(chamfer(a, b, norm, "none") for norm in (1, 2))], dim=1)  # type: ignore[arg-type]
    searches, search = [], distances._nearest
    monkeypatch.setattr(distances, "_nearest", lambda *sets: searches.append(1) or search(*sets))
    assert torch.equal(reconstruction_scores(a, b, 0.1), expected)
    assert len(searches) == 1


@pytest.mark.parametrize("width", [5, 64, 65])
@pytest.mark.parametrize("dim", [1, 2])
def test_the_first_of_equals_is_the_nearest_by_numpy_too(width: int, dim: int) -> None:
    values = torch.randint(0, 4, (6, 40, width)).float()
    first = (values == values.amin(dim=dim, keepdim=True)).to(torch.uint8).argmax(dim=dim)
    assert torch.equal(distances._argmin(values, dim), first)


@pytest.mark.gpu
@pytest.mark.parametrize("norm", [1, 2])
def test_cuda_equals_cpu(norm: int) -> None:
    a, b = torch.randn(3, 200, 3, dtype=torch.float64), torch.randn(3, 100, 3, dtype=torch.float64)
    torch.testing.assert_close(chamfer(a.cuda(), b.cuda(), norm).cpu(), chamfer(a, b, norm))
    torch.testing.assert_close(f_score(a.cuda(), b.cuda(), 0.3).cpu(), f_score(a, b, 0.3))

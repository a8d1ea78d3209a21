"""Distillation losses against their cloud-by-cloud textbook forms."""

import pytest
import torch

from act3d.losses import LOSSES, build_loss
from benchmarks.textbook.losses import LOSSES as TEXTBOOK
from tests.helpers import assert_agree

ALL = sorted(TEXTBOOK)


def test_every_loss_of_the_textbook_is_there() -> None:
    assert set(LOSSES) == set(TEXTBOOK)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("batch", "hidden", "width"), [(3, 7, 12), (1, 3, 5), (2, 51, 16)])
def test_value_and_gradient_equal_the_textbook(name: str, batch: int, hidden: int, width: int) -> None:
    predicted = torch.randn(batch, hidden, width, dtype=torch.float64, requires_grad=True)
    target = predicted.detach() + torch.randn(batch, hidden, width, dtype=torch.float64)
    found, expected = build_loss(name)(predicted, target), TEXTBOOK[name](predicted, target)
    assert found.shape == ()
    assert_agree(found, expected)
    assert_agree(*(torch.autograd.grad(loss, predicted)[0] for loss in (found, expected)))


@pytest.mark.parametrize("name", ALL)
def test_gradcheck(name: str) -> None:
    target = torch.randn(2, 4, 3, dtype=torch.float64)
    predicted = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: build_loss(name)(p, target), predicted)


@pytest.mark.parametrize("name", ALL)
def test_a_perfect_prediction_is_the_best(name: str) -> None:
    target = torch.randn(2, 20, 6, dtype=torch.float64)
    loss = build_loss(name)
    best = loss(target, target)
    assert best < loss(target + 0.5 * torch.randn_like(target), target)
    if name in ("cosine", "l2", "smooth_l1"):
        assert best.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_other_shapes_are_refused_with_both(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(2, 5, 4\).*\(2, 6, 4\)"):
        build_loss(name)(torch.randn(2, 5, 4), torch.randn(2, 6, 4))
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        build_loss(name)(torch.randn(5, 4), torch.randn(5, 4))


def test_barlow_needs_two_patches_and_survives_constant_features() -> None:
    with pytest.raises(ValueError, match="2"):
        build_loss("barlow")(torch.randn(2, 1, 4), torch.randn(2, 1, 4))
    predicted = torch.zeros(2, 6, 4, requires_grad=True)
    loss = build_loss("barlow")(predicted, torch.randn(2, 6, 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(predicted.grad).all()


def test_an_unknown_name_is_refused_with_those_allowed() -> None:
    with pytest.raises(ValueError, match=r"'cosin'.*barlow"):
        build_loss("cosin")


@pytest.mark.parametrize("kind", ALL)
def test_mixed_precision_does_not_reach_the_loss(kind: str) -> None:
    predicted, target = (torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(i)).bfloat16() for i in (0, 1))
    expected = build_loss(kind)(predicted.float(), target.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = build_loss(kind)(predicted, target)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)

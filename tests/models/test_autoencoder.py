"""The autoencoder, with and without a prompted backbone, against the textbook form."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from act3d.geometry import Patches
from act3d.models import build
from act3d.models.autoencoder import Autoencoder
from act3d.use.shape_predictors import AutoencoderPredictor
from benchmarks.textbook.autoencoder import DiscreteVAE
from tests.helpers import (
    AUTOENCODER_NAMES,
    SMALL,
    assert_agree,
    backbone_spec,
    compare,
    copy_weights,
    draws_alike,
    randomize,
)
from tests.helpers import textbook_autoencoder as textbook

CASES: dict[str, dict[str, Any]] = {
    "no backbone": {"backbone": False},
    "pre-norm, deep": {"norm_first": True, "deep": True},
    "pre-norm, shallow": {"norm_first": True, "deep": False},
    "post-norm, deep": {"norm_first": False, "deep": True},
    "post-norm, shallow": {"norm_first": False, "deep": False},
    "pre-norm, deep, one block": {"norm_first": True, "deep": True, "depth": 1},
}


def pair(
    backbone: bool = True, norm_first: bool = True, deep: bool = True, dropout: float = 0.0, depth: int = 3
) -> tuple[DiscreteVAE, Autoencoder]:
    if not backbone:
        plain = DiscreteVAE(**SMALL)
        randomize(plain)
        fast = Autoencoder(**SMALL, teacher=None).double()
    else:
        plain = textbook(norm_first, deep, dropout, depth)
        spec = backbone_spec(norm_first, depth)
        fast = Autoencoder(**SMALL, teacher=spec, prompts=3, deep_prompts=deep, prompt_dropout=dropout).double()
    copy_weights(plain, fast, AUTOENCODER_NAMES, skip=("deep_prompt",) if depth == 1 else ())
    return plain, fast


def runs(
    plain: DiscreteVAE, fast: Autoencoder, points: Tensor, noise: bool
) -> tuple[Callable[[], list[Tensor]], Callable[[], list[Tensor]]]:
    neighborhood, center = plain.group(points)
    patches = fast.patchify(points)

    def run_plain() -> list[Tensor]:
        output = plain(neighborhood, center, temperature=0.7, hard=not noise, noise=noise)
        return [output.coarse, output.fine, output.logits, *plain.loss(neighborhood, output)]

    def run_fast() -> list[Tensor]:
        output = fast(patches, temperature=0.7, noise=noise)
        return [*output, *fast.loss(patches, output)]

    return run_plain, run_fast


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("noise", [False, pytest.param(True, marks=draws_alike)])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_outputs_losses_and_gradients(case: dict[str, Any], noise: bool, training: bool) -> None:
    """With noise both forms draw the same Gumbel noise; without it both take the arg-max code."""
    plain, fast = pair(**case)
    plain.train(training)
    fast.train(training)
    run_plain, run_fast = runs(plain, fast, torch.randn(2, 40, 3, dtype=torch.float64), noise)
    skip = ("deep_prompt",) if case.get("depth") == 1 else ()
    compare(plain, fast, run_plain, run_fast, names=AUTOENCODER_NAMES, skip=skip)


@draws_alike
@pytest.mark.parametrize("deep", [True, False])
def test_dropout_on_prompts_draws_the_same_for_both_forms(deep: bool) -> None:
    plain, fast = pair(deep=deep, dropout=0.4)
    plain.train()
    fast.train()
    run_plain, run_fast = runs(plain, fast, torch.randn(2, 40, 3, dtype=torch.float64), noise=True)
    compare(plain, fast, run_plain, run_fast, names=AUTOENCODER_NAMES)
    torch.manual_seed(1)
    first = run_fast()[1]
    assert not torch.equal(first, run_fast()[1])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_use_after_training(case: dict[str, Any]) -> None:
    plain, fast = pair(**case)
    plain.eval()
    fast.eval()
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    neighborhood, center = plain.group(points)
    expected = plain(neighborhood, center, hard=True, noise=False)
    used = AutoencoderPredictor(fast)
    assert torch.equal(used.tokenize(points), expected.logits.argmax(dim=2))
    assert_agree(used.teacher_features(points), expected.features)
    assert_agree(fast.features(fast.patchify(points)), expected.features)
    found = used.reconstruct(points)
    assert_agree(found.points, plain.reconstruct(expected, center))
    assert_agree(found.coarse, expected.coarse)
    assert_agree(found.fine, expected.fine)
    assert torch.equal(found.centers, center)
    assert not found.points.requires_grad
    assert fast.teacher_width == expected.features.shape[2]


def test_one_by_one_equals_batched() -> None:
    _, fast = pair()
    fast.eval()
    points = torch.randn(3, 40, 3, dtype=torch.float64)
    used = AutoencoderPredictor(fast)
    assert_agree(used.teacher_features(points), torch.cat([used.teacher_features(cloud[None]) for cloud in points]))


def test_kl_is_zero_for_an_even_use_of_codes_and_positive_otherwise() -> None:
    _, fast = pair(backbone=False)
    patches = Patches(torch.randn(2, 8, 8, 3).double(), torch.randn(2, 8, 3).double())
    output = fast(patches)
    even = output._replace(logits=torch.zeros(2, 8, 40, dtype=torch.float64))
    assert fast.loss(patches, even)[1].item() == pytest.approx(0, abs=1e-6)
    one = output._replace(logits=torch.zeros(2, 8, 40, dtype=torch.float64).index_fill(2, torch.tensor([5]), 500.0))
    kl = fast.loss(patches, one)[1]
    assert kl.isfinite()  # the softmax itself underflows here
    assert kl.item() > 100


def test_a_config_builds_the_same_model_again() -> None:
    for case in CASES.values():
        _, fast = pair(**case)
        again = build(fast.kind, fast.config)
        assert again.config == fast.config
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in fast.state_dict().items()}


def test_no_prompts_at_all() -> None:
    model = Autoencoder(**SMALL, teacher=backbone_spec(), prompts=0).eval()
    assert not any("prompt_" in name for name in model.state_dict())
    assert model.features(model.patchify(torch.randn(2, 40, 3))).shape == (2, 8, 16)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="autoencode'"):
        build("autoencode", {})

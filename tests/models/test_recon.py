"""ReCon: patches as in Point-MAE, tokens that read them without teaching them, and losses for what is given."""

import pytest
import torch

from act3d.geometry import Patches
from act3d.models.classifier import Classifier
from act3d.models.encoder import PointEncoder
from act3d.models.masking import random_mask
from act3d.models.point_mae import PointMAE
from act3d.models.recon import ReCon
from tests.helpers import randomize

SMALL = {"patches": 8, "patch_size": 8, "width": 64, "depth": 2, "heads": 2, "decoder_depth": 1, "decoder_heads": 1}
HIDDEN = 5


def small(**other: object) -> ReCon:
    torch.manual_seed(0)
    return randomize(ReCon(**SMALL, image_width=12, text_width=10, contrast=True, **other)).float().eval()


@pytest.fixture
def patches() -> Patches:
    return small().patchify(torch.rand(3, 60, 3, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def mask() -> torch.Tensor:
    torch.manual_seed(2)
    return random_mask(3, 8, HIDDEN)


def test_patches_are_point_maes(patches: Patches, mask: torch.Tensor) -> None:
    model = small()
    plain = PointMAE(**SMALL)
    plain.encoder = PointEncoder(64, 2, 2, class_token=False, normed_residual=True)
    plain.eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name in plain.state_dict()})
    found, wanted = model(patches, mask, HIDDEN), plain(patches, mask, HIDDEN)
    assert torch.equal(found.predicted, wanted.points)
    assert torch.equal(found.hidden, wanted.hidden)
    assert torch.equal(model.losses(patches, found).mdm, plain.loss(patches, wanted))


def test_shapes(patches: Patches, mask: torch.Tensor) -> None:
    output = small()(patches, mask, HIDDEN)
    assert output.predicted.shape == (3, HIDDEN, 8, 3)
    assert output.visible.shape == (3, 8 - HIDDEN, 64)
    assert output.tokens.shape == (3, 3, 64)
    assert output.image.shape == (3, 12)
    assert output.text.shape == (3, 10)
    assert output.contrast.shape == (3, 128)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_what_the_tokens_learn_does_not_reach_the_patches(
    stop_gradient: bool, patches: Patches, mask: torch.Tensor
) -> None:
    model = small(stop_gradient=stop_gradient)
    model.train()
    losses = model.losses(
        patches, model(patches, mask, HIDDEN), torch.randn(3, 12), torch.randn(3, 10), torch.eye(3, dtype=torch.bool)
    )
    (losses.csc_img + losses.csc_text + losses.smc).backward()
    encoder = model.encoder
    for part in (encoder.readers, model.image_head, model.text_head, model.contrast_head):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters() if p.ndim > 1)
    assert encoder.global_tokens.grad.abs().sum(dim=2).all(), "each token learns"
    reached = [n for n, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    reached = [n for n in reached if n.startswith(("blocks.", "patch_embedding.", "pos_embed."))]
    assert bool(reached) is not stop_gradient
    assert model.mask_token.grad is None


def test_tokens_read_the_patches(patches: Patches, mask: torch.Tensor) -> None:
    """They see the visible ones and nothing of the hidden ones."""
    model = small()
    before = model(patches, mask, HIDDEN).tokens
    neighborhoods = patches.neighborhoods.clone()
    neighborhoods[mask] += 1
    torch.testing.assert_close(model(Patches(neighborhoods, patches.centers), mask, HIDDEN).tokens, before)
    neighborhoods[~mask] += 1
    changed = model(Patches(neighborhoods, patches.centers), mask, HIDDEN).tokens
    assert ((changed - before).abs().amax(dim=2) > 1e-3).all()


def test_losses_are_for_what_there_is(patches: Patches, mask: torch.Tensor) -> None:
    model = small()
    output = model(patches, mask, HIDDEN)
    alone = model.losses(patches, output)
    assert alone[1:] == (None, None, None)
    assert torch.equal(alone.total(), alone.mdm)
    named = model.losses(patches, output, text=output.text + 3)
    assert named.csc_text.item() == pytest.approx(2.5)  # smooth L1 of 3
    assert named.total().item() == pytest.approx(alone.mdm.item() + 2.5)
    with pytest.raises(ValueError, match=r"text features \(3, 9\) do not fit predicted \(3, 10\)"):
        model.losses(patches, output, text=torch.zeros(3, 9))


def test_heads_that_are_not_there_are_missed_by_name(patches: Patches, mask: torch.Tensor) -> None:
    model = ReCon(**SMALL, image_width=None, text_width=None).eval()
    output = model(patches, mask, HIDDEN)
    assert output[4:] == (None, None, None)
    for given, name in (({"image": torch.zeros(3, 2)}, "image"), ({"text": torch.zeros(3, 2)}, "text")):
        with pytest.raises(ValueError, match=f"no {name} head"):
            model.losses(patches, output, **given)
    with pytest.raises(ValueError, match="no contrast head"):
        model.losses(patches, output, same=torch.eye(3, dtype=torch.bool))


def test_a_classifier_starts_from_it() -> None:
    model = small()
    tuned = Classifier(4, patches=8, patch_size=8, width=64, depth=2, heads=2, normed_residual=True)
    fresh = tuned.encoder.cls_token.clone()
    kept = tuned.start_from(model)
    assert torch.equal(tuned.encoder.blocks[1].mlp.fc1.weight, model.encoder.blocks[1].mlp.fc1.weight)
    assert sorted(kept) == ["cls_pos", "cls_token"]
    assert torch.equal(tuned.encoder.cls_token, fresh)

"""The textbook form, which everything else is measured against, gives the published numbers itself."""

import pytest
import torch

from benchmarks.textbook import geometry
from benchmarks.textbook.autoencoder import DiscreteVAE, PromptedAutoencoder, vit
from benchmarks.textbook.heads import Classifier, Segmenter
from benchmarks.textbook.student import PointDistillation
from tests.parity.cases import assert_parity, numbers, state

CLOSE = 1e-5  # the arithmetic is the same, so only the order of sums differs


def autoencoder(name: str) -> DiscreteVAE:
    if name == "dvae_pointbert":
        return DiscreteVAE()
    if name == "dvae_act_shallow":
        return PromptedAutoencoder(*vit(384, 12, 6), 384, prompts=8, deep=False)
    return PromptedAutoencoder(*vit(768, 12, 12), 768, prompts=64, deep=True)


@pytest.mark.parametrize("name", ["dvae_pointbert", "dvae_act_shallow", "dvae_act_vit_base"])
@torch.no_grad()
def test_autoencoders(name: str) -> None:
    model, expected = autoencoder(name).eval(), numbers(name)
    model.load_state_dict(state(name), strict=True)
    points = expected["points"]
    neighborhood, center = model.group(points)
    output = model(neighborhood, center, hard=True, noise=False)
    reconstruction, kl = model.loss(neighborhood, output)
    whole = model.reconstruct(output, center)
    found = {
        "centers": center,
        "neighborhood0": neighborhood,
        "patch_embedding": model.encoder(neighborhood),
        "logits": output.logits,
        "teacher_hidden": output.hidden,
        "teacher_features": output.features,
        "decoder_features": output.features,
        "coarse": output.coarse,
        "fine": output.fine,
        "reconstruction": whole,
        "loss_recon": reconstruction,
        "loss_kl": kl,
        "cd_l1": geometry.chamfer_l1(whole, points),
        "cd_l2": geometry.chamfer_l2(whole, points),
    }
    for key in expected.keys() & found.keys():
        assert_parity(found[key], expected[key], key, CLOSE)
    assert torch.equal(output.logits.argmax(dim=2), expected["tokens"])


@torch.no_grad()
def test_student() -> None:
    expected = numbers("student_act")
    teacher = PromptedAutoencoder(*vit(384, 12, 6), 384, prompts=16, deep=True)
    model = PointDistillation(teacher, unused_heads=True).eval()
    model.load_state_dict(state("student_act"), strict=True)
    neighborhood, center = teacher.group(expected["points"])
    output = model.predict(neighborhood, center, expected["mask"])
    assert_parity(output.visible, expected["visible_features"], "visible_features", CLOSE)
    assert_parity(output.predicted, expected["predicted_features"], "predicted_features", CLOSE)
    everything = model.ACT_encoder(neighborhood, center, torch.zeros_like(expected["mask"])).patches
    assert_parity(everything, expected["unmasked_features"], "unmasked_features", CLOSE)
    assert_parity(model(neighborhood, center, expected["mask"]), expected["loss"], "loss", CLOSE)


@pytest.mark.parametrize("name", ["classifier_full", "classifier_linear"])
@torch.no_grad()
def test_classifiers(name: str) -> None:
    expected = numbers(name)
    model = Classifier(15, linear=name == "classifier_linear").eval()
    model.load_state_dict(state(name), strict=True)
    assert_parity(model(expected["points"]), expected["logits"], "logits", CLOSE)


@torch.no_grad()
def test_part_segmenter() -> None:
    expected = numbers("part_segmenter")
    model = Segmenter(50, 16).eval()
    model.load_state_dict(state("part_segmenter"), strict=True)
    found = model(expected["points"], expected["category"])
    assert_parity(found[:, ::4], expected["log_probs"], "log_probs", CLOSE)  # every fourth point


@torch.no_grad()
def test_scene_segmenter() -> None:
    expected = numbers("scene_segmenter")
    model = Segmenter(13).eval()
    model.load_state_dict(state("scene_segmenter"), strict=True)
    assert_parity(model(expected["points"]), expected["log_probs"], "log_probs", CLOSE)

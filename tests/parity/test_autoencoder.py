"""The released autoencoders, read from their files, give the published numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from act3d import load, save
from act3d.geometry import chamfer
from act3d.models.autoencoder import Autoencoder
from act3d.models.graph_network import center_graph
from act3d.use.shape_predictors import AutoencoderPredictor
from tests.parity.cases import assert_parity, numbers

CASES = ("dvae_pointbert", "dvae_act_shallow", "dvae_act_vit_base")
Loader = Callable[[str], AutoencoderPredictor]


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_every_step_of_the_forward_pass(name: str, loaded: Loader) -> None:
    model, expected = loaded(name).model, numbers(name)
    patches = model.patchify(expected["points"])
    output = model(patches, noise=False)
    codes = model.codebook[output.logits.argmax(dim=2)]
    found = {
        "centers": patches.centers,
        "neighborhood0": patches.neighborhoods,
        "patch_embedding": model.patch_embedding(patches.neighborhoods),
        "logits": output.logits,
        "teacher_hidden": model.transform(codes, patches.centers),
        "teacher_features": model.features(patches),
        "decoder_features": model.features(patches),
        "coarse": output.coarse,
        "fine": output.fine,
    }
    for key, value in found.items():
        if key in expected:
            assert_parity(value, expected[key], key)
    assert torch.equal(patches.neighborhoods[:, :4], expected["neighborhood0"])  # the very same points
    assert int((output.logits.argmax(dim=2) == expected["tokens"]).sum()) >= 126
    reconstruction, kl = model.loss(patches, output)
    assert_parity(reconstruction, expected["loss_recon"], "loss_recon")
    assert_parity(kl, expected["loss_kl"], "loss_kl")


@pytest.mark.parametrize("name", CASES)
def test_use_after_training(name: str, loaded: Loader) -> None:
    model, expected = loaded(name), numbers(name)
    points = expected["points"]
    assert int((model.tokenize(points) == expected["tokens"]).sum()) >= 126
    found = model.reconstruct(points)
    assert_parity(found.points, expected["reconstruction"], "reconstruction")
    assert found.points.shape == expected["reconstruction"].shape
    assert_parity(chamfer(found.points, points, 1), expected["cd_l1"], "cd_l1")
    assert_parity(chamfer(found.points, points, 2), expected["cd_l2"], "cd_l2")
    if "teacher_features" in expected:
        assert_parity(model.teacher_features(points), expected["teacher_features"], "teacher_features")


@pytest.mark.parametrize("name", CASES)
def test_the_model_is_the_one_of_the_case(name: str, loaded: Loader) -> None:
    predictor = loaded(name)
    model = predictor.model
    assert isinstance(model, Autoencoder)
    assert not model.training
    assert predictor.left_over == []
    widths = {"dvae_pointbert": (256, None), "dvae_act_shallow": (384, 384), "dvae_act_vit_base": (384, 768)}
    assert (model.width, None if model.backbone is None else model.backbone.width) == widths[name]
    if model.backbone is not None:
        assert not any(p.requires_grad for p in model.backbone.parameters())
        assert model.config["deep_prompts"] is (name == "dvae_act_vit_base")


def test_the_native_copy_of_a_released_file_is_the_same_model(loaded: Loader, tmp_path: Path) -> None:
    model, points = loaded("dvae_act_shallow"), numbers("dvae_act_shallow")["points"]
    save(model, tmp_path / "teacher.safetensors", {})
    again = load(tmp_path / "teacher.safetensors")
    assert torch.equal(again.teacher_features(points), model.teacher_features(points))


@torch.no_grad()
def test_training_mode_differs_only_by_what_it_should(loaded: Loader) -> None:
    """Batch statistics and prompt dropout are the only things `train()` changes; the backbone is not touched."""
    model, expected = loaded("dvae_act_shallow").model, numbers("dvae_act_shallow")
    patches = model.patchify(expected["points"])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        model.train()
        assert not torch.allclose(model(patches, noise=False).logits[:, :4], expected["logits"], atol=1e-4)
    finally:
        model.load_state_dict(before)
        model.eval()
    graph = center_graph(patches.centers)
    assert_parity(model.token_logits(patches, graph), expected["logits"], "logits")

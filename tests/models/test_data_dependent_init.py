"""A start fitted to data: what it sets, what it leaves alone, and who may not have it."""

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from act3d.errors import ConfigError
from act3d.models.autoencoder import Autoencoder
from act3d.models.data_dependent_init import fit_autoencoder, fit_statistics, fit_student
from act3d.models.graph_network import center_graph
from act3d.models.point_bert import PointBERT
from act3d.models.point_mae import PointMAE
from act3d.models.student import Student
from act3d.settings.training import DataConfig, TrainerConfig


@pytest.fixture(scope="module")
def clouds():
    return torch.randn(24, 128, 3, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.5, 0.3, 0.1])


def autoencoder(**changes):
    torch.manual_seed(0)
    sizes = {"patches": 8, "patch_size": 16, "width": 32, "codes": 64, "teacher": "untrained:minilm", "prompts": 4}
    return Autoencoder(**{**sizes, "graph_width": 64, "folding_width": 32, **changes})


def channels(x):
    rows = x.flatten(0, -2)
    return rows.mean(0), rows.std(0)


@pytest.mark.parametrize("teacher", ["untrained:minilm", None])
def test_codes_features_and_points_start_spread_out(clouds, teacher):
    model = autoencoder(teacher=teacher, prompt_dropout=0.0)
    patches = model.patchify(clouds)
    model.train()
    before = model(patches, 0.3, noise_scale=0)
    fit_autoencoder(model, patches, 0.3)
    graph = center_graph(patches.centers)
    logits = model.token_logits(patches, graph)
    after = model(patches, 0.3, noise_scale=0)
    # Before its leaky ReLU every channel has mean 0 and deviation 1; the ReLU lifts the mean by 0.8 * 0.4.
    for values in (
        logits,
        model.feature_head(model.transform((logits / 0.3).softmax(2) @ model.codebook, patches.centers), graph),
    ):
        mean, deviation = channels(values.detach())
        assert ((mean - 0.32).abs() < 0.15).all()
        assert ((deviation - 0.71).abs() < 0.25).all()
    assert torch.allclose(channels(after.coarse.detach().flatten(2))[1], patches.neighborhoods.std(), rtol=1e-3)
    # What sets patches apart, against what they share, in the points that are drawn.
    apart = [float(o.fine.detach().flatten(0, 1).std(0).mean() / patches.neighborhoods.std()) for o in (before, after)]
    assert 0.5 < apart[1] < 2


def test_a_frozen_backbone_and_the_mode_stay(clouds):
    model = autoencoder().eval()
    kept = {name: value.clone() for name, value in model.prompted.backbone.state_dict().items()}
    fit_autoencoder(model, model.patchify(clouds), 0.3)
    assert not model.training
    assert all(torch.equal(kept[name], value) for name, value in model.prompted.backbone.state_dict().items())


def test_a_student_starts_wide_and_its_positions_bend(clouds):
    torch.manual_seed(0)
    model = Student(patches=8, patch_size=16, width=32, depth=2, heads=2, decoder_depth=1, decoder_heads=2)
    patches = model.patchify(clouds)
    fit_student(model, patches)
    tokens = model.encoder.train().embed_patches(patches.neighborhoods).detach()
    for values in (
        tokens,
        model.encoder.pos_embed(patches.centers).detach(),
        model.decoder_pos_embed(patches.centers).detach(),
    ):
        mean, deviation = channels(values)
        assert torch.allclose(mean, torch.zeros(32), atol=1e-4)
        assert torch.allclose(deviation, torch.ones(32), atol=1e-3)
    rows = model.encoder.pos_embed(patches.centers).detach().flatten(0, 1)
    share = torch.linalg.svdvals(rows - rows.mean(0)).square()
    assert share[3:].sum() / share.sum() > 0.05  # linear positions would leave nothing after three dimensions
    weight = model.encoder.blocks[0].attn.qkv.weight
    assert 0.7 < float(weight.detach().std()) * 32**0.5 < 1


def test_point_mae_too_and_point_bert_keeps_the_tokenizers_embedding(clouds):
    torch.manual_seed(0)
    sizes = {"patches": 8, "patch_size": 16, "width": 32, "depth": 1, "heads": 2}
    mae = PointMAE(**sizes, decoder_depth=1, decoder_heads=2)
    fit_student(mae, mae.patchify(clouds))
    assert torch.isfinite(mae.embed(mae.patchify(clouds))).all()
    bert = PointBERT(**sizes, embed_width=24, codes=16)
    kept = {name: value.clone() for name, value in bert.encoder.patch_embedding.named_parameters()}
    fit_student(bert, bert.patchify(clouds), keep=[bert.encoder.patch_embedding])
    assert all(torch.equal(kept[name], value) for name, value in bert.encoder.patch_embedding.named_parameters())


def test_statistics_are_the_mean_over_batches(clouds):
    torch.manual_seed(0)
    model = Student(patches=8, patch_size=16, width=32, depth=1, heads=2, decoder_depth=1, decoder_heads=2).eval()
    patches = model.patchify(clouds)
    fit_statistics(model.encoder, [patches, patches, patches])
    norm = model.encoder.patch_embedding.first_conv[1]
    convolution = model.encoder.patch_embedding.first_conv[0]
    given = nn.functional.linear(patches.neighborhoods.flatten(0, 2), convolution.weight.flatten(1), convolution.bias)
    assert torch.allclose(norm.running_mean, given.mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, given.var(0), rtol=1e-4)
    assert norm.momentum == 0.1
    assert not model.encoder.patch_embedding.training


@pytest.mark.parametrize("command", ["finetune", "fewshot", "segment"])
def test_what_starts_from_a_checkpoint_refuses_before_it_opens_anything(command: str, tmp_path: Path) -> None:
    run = getattr(importlib.import_module(f"act3d.commands.{command}"), command)
    with pytest.raises(ConfigError, match="fit_start"):
        run(data=DataConfig(root="nowhere"), trainer=TrainerConfig(fit_start=8), out=str(tmp_path / "run"))

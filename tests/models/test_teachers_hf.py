"""`hf:` teachers against the layers of transformers, on small random models saved to a folder. No network."""

import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import parse as version
from torch import nn

from act3d.errors import CheckpointError, InputError, MissingDependency
from act3d.models.backbones import hf, hub
from act3d.models.teachers import backbone_spec, load_backbone

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
IMAGE = {**SIZES, "image_size": 32, "patch_size": 16}
DINO = {name: value for name, value in IMAGE.items() if name != "intermediate_size"}
TEXT = {**SIZES, "vocab_size": 50, "max_position_embeddings": 16}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, "vocab_size": 50, "max_position_embeddings": 16}
BIAS = {"use_relative_position_bias": True}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", IMAGE),
    "vit without qkv bias": ("ViT", {**IMAGE, "qkv_bias": False}),
    "vit_mae": ("ViTMAE", IMAGE),
    "vit_msn": ("ViTMSN", IMAGE),
    "deit": ("DeiT", IMAGE),
    "beit, pooled by mean": ("Beit", {**IMAGE, **BIAS}),
    "beit, pooled by class token": ("Beit", {**IMAGE, **BIAS, "use_mean_pooling": False}),
    "beit with one bias for all layers": ("Beit", {**IMAGE, "use_shared_relative_position_bias": True}),
    "beit without layer scale": ("Beit", {**IMAGE, "layer_scale_init_value": 0.0}),
    "data2vec-vision": ("Data2VecVision", {**IMAGE, **BIAS}),
    "dinov2": ("Dinov2", DINO),
    "dinov2 with swiglu": ("Dinov2", {**DINO, "use_swiglu_ffn": True}),
    "dinov2 with registers": ("Dinov2WithRegisters", DINO),
    "clip vision": ("CLIPVision", IMAGE),
    "siglip vision": ("SiglipVision", IMAGE),
    "bert": ("Bert", TEXT),
    "bert with gelu_new": ("Bert", {**TEXT, "hidden_act": "gelu_new"}),
    "roberta": ("Roberta", TEXT),
    "xlm-roberta": ("XLMRoberta", TEXT),
    "camembert": ("Camembert", TEXT),
    "electra": ("Electra", {**TEXT, "embedding_size": 8}),
    "distilbert": ("DistilBert", DISTIL),
}


def _skip_unknown(name: str) -> None:
    """Skip a kind of model that is newer than the oldest transformers that act3d takes; act3d reads its files alone."""
    if "registers" in name.lower() and version(transformers.__version__) < version("4.48"):
        pytest.skip(f"transformers {transformers.__version__} has no DINOv2 with registers")


def _model(name: str, config: dict[str, Any], suffix: str = "Model") -> nn.Module:
    """A random model whose biases, norms and scales are random too; BEiT's position bias, which we drop, is 0."""
    _skip_unknown(name)
    torch.manual_seed(0)
    made = getattr(transformers, f"{name}{suffix}")(getattr(transformers, f"{name}Config")(**config)).eval()
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in key.lower() else 0.0, std=0.3)
            if "relative_position_bias_table" in key:
                parameter.zero_()
    return made


def _layers(model: nn.Module, without: str = "text_model") -> nn.ModuleList:
    (found,) = [
        module
        for name, module in model.named_modules()
        if name.split(".")[-1] in ("layer", "layers") and isinstance(module, nn.ModuleList) and without not in name
    ]
    return found


@torch.no_grad()
def _expected(model: nn.Module, x: torch.Tensor, normed: bool) -> torch.Tensor:
    # What some layers have to be given, by its name in this version of transformers; nothing is masked.
    given = {"resolution": (32, 32), "attention_mask": None, "causal_attention_mask": None}
    given["attn_mask"] = torch.ones(x.shape[:2])
    for layer in _layers(model):
        taken = inspect.signature(layer.forward).parameters
        x = layer(x, **{name: value for name, value in given.items() if name in taken})
        x = x[0] if isinstance(x, tuple) else x
    if not normed:
        return x
    norms = [
        m for n, m in model.named_modules() if n.split(".")[-1] in ("layernorm", "post_layernorm") and "head" not in n
    ]
    return norms[-1](x)


def _eps(model: nn.Module) -> set[float]:
    return {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)}


def _save(model: nn.Module, folder: Path) -> str:
    model.save_pretrained(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize("case", CASES)
def test_equals_the_layers_it_was_read_from(case: str, tmp_path: Path) -> None:
    model = _model(*CASES[case])
    backbone = load_backbone(_save(model, tmp_path))
    x = torch.randn(3, 5, 16)  # 5 tokens: what BEiT's position bias was made for
    expected = _expected(model, x, backbone.spec["final_norm"])
    torch.testing.assert_close(backbone(x), expected, atol=2e-5, rtol=2e-5)
    assert _eps(backbone.blocks) == _eps(_layers(model))
    assert backbone.spec["norm_first"] == (case.split()[0].strip(",") not in hf.POST_NORM)
    assert backbone.source == f"hf:{tmp_path}"
    assert backbone.spec == backbone_spec(f"untrained:hf:{tmp_path}")


@pytest.mark.parametrize("case", ["vit", "beit, pooled by mean", "dinov2", "dinov2 with swiglu"])
def test_names_that_transformers_5_uses_in_memory(case: str, tmp_path: Path) -> None:
    model = _model(*CASES[case])
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    backbone = load_backbone(f"hf:{tmp_path}")
    x = torch.randn(3, 5, 16)
    torch.testing.assert_close(backbone(x), _expected(model, x, backbone.spec["final_norm"]), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
def test_vision_tower_of_a_pair_of_towers(name: str, tmp_path: Path) -> None:
    model = _model(name, {"text_config": TEXT, "vision_config": IMAGE})
    backbone = load_backbone(_save(model, tmp_path))
    x = torch.randn(2, 5, 16)
    tower = model.vision_model
    torch.testing.assert_close(backbone(x), _expected(tower, x, True), atol=2e-5, rtol=2e-5)


def test_models_with_a_head_and_in_parts(tmp_path: Path) -> None:
    model = _model("Bert", TEXT, "ForMaskedLM")
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(load_backbone(f"hf:{tmp_path}")(x), _expected(model, x, False), atol=2e-5, rtol=2e-5)


def test_old_files_of_torch_with_gamma_and_beta(tmp_path: Path) -> None:
    model = _model("Bert", TEXT)
    model.config.save_pretrained(tmp_path)
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in model.state_dict().items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in old.items()}
    torch.save(old, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(load_backbone(f"hf:{tmp_path}")(x), _expected(model, x, False), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", [*hf.PRE_NORM, *hf.POST_NORM])
def test_defaults_are_those_of_the_config_class(kind: str) -> None:
    _skip_unknown(kind)
    config = transformers.CONFIG_MAPPING[kind]()
    for key, value in {**hf.PRE_NORM, **hf.POST_NORM}[kind].items():
        if key == "intermediate_size" and "dinov2" in kind:
            continue  # DINOv2 has mlp_ratio in its place
        if key == "initializer_range" and kind == "siglip_vision_model":
            continue  # SigLIP starts otherwise, and has no such key
        assert getattr(config, key) == value, key
    assert getattr(config, "qkv_bias", True) is True


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    backbone = load_backbone(_save(_model("ViT", IMAGE).half(), tmp_path))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


def test_untrained_needs_the_config_only(tmp_path: Path) -> None:
    _model("Dinov2", DINO).config.save_pretrained(tmp_path)
    torch.manual_seed(1)
    first = load_backbone(f"untrained:hf:{tmp_path}")
    torch.manual_seed(1)
    second = load_backbone(f"untrained:hf:{tmp_path}")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.blocks[0].ls1.tolist() == [1.0] * 16
    with pytest.raises(InputError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        load_backbone(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "swin"}, "model_type 'swin' is not one that act3d reads; it reads clip, siglip, vit"),
        ({}, "model_type None"),
        ({"model_type": "vit", "hidden_act": "mish"}, "hidden_act 'mish' is none of gelu"),
        ({"model_type": "bert", "is_decoder": True}, "decoder"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "relative position"),
    ],
)
def test_other_architectures_are_refused(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        load_backbone(f"hf:{tmp_path}")


def test_weights_that_lack_a_layer_or_hold_more_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    name = _save(_model("ViT", IMAGE), tmp_path)
    path = tmp_path / "model.safetensors"
    state = {key: value.clone() for key, value in load_file(path).items()}  # older versions read from the open file
    save_file({key: value for key, value in state.items() if ".layer.1." not in key}, path)
    with pytest.raises(CheckpointError, match=r"one encoder of 2 layers, found encoder\.layer \(1 layers\)"):
        load_backbone(name)
    save_file({**state, "encoder.layer.0.attention.q_norm.weight": torch.ones(4)}, path)
    with pytest.raises(CheckpointError, match=r"attention\.q_norm\.weight, which act3d's blocks do not know"):
        load_backbone(name)
    save_file({key: value for key, value in state.items() if "0.layernorm_after.bias" not in key}, path)
    with pytest.raises(CheckpointError, match=r"blocks\.0\.norm2\.bias should have shape \(16,\), not none"):
        load_backbone(name)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_backbone(name)


def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    hub.unreachable.cache_clear()


@pytest.mark.parametrize(
    ("offline", "reason"), [(True, "HF_HUB_OFFLINE is set"), (False, "127.0.0.1 cannot be reached")]
)
def test_offline_and_not_cached_names_the_file(offline: bool, reason: str, monkeypatch, tmp_path: Path) -> None:
    _empty_cache(monkeypatch, tmp_path, offline)
    with pytest.raises(MissingDependency, match=rf"config\.json of some/model .*{reason}.*hf download") as caught:
        load_backbone("hf:some/model")
    assert "\n" not in str(caught.value)


def test_cached_files_are_used_offline(monkeypatch, tmp_path: Path) -> None:
    _empty_cache(monkeypatch, tmp_path, offline=True)
    repo = tmp_path / "cache" / "models--some--model"
    model = _model("Bert", TEXT)
    model.save_pretrained(repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    backbone = load_backbone("hf:some/model")
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(backbone(x), _expected(model, x, False), atol=2e-5, rtol=2e-5)
    assert backbone.source == "hf:some/model"
    (repo / "snapshots" / "abc" / "model.safetensors").unlink()
    with pytest.raises(MissingDependency, match=r"model\.safetensors of some/model"):
        load_backbone("hf:some/model")


@pytest.mark.parametrize("name", ["hf:./no/such/folder", "hf:/tmp/none", "hf:a b", "hf:a/b/c", "hf:a--b/c"])
def test_neither_folder_nor_id(name: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_backbone(name)

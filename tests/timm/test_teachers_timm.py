"""`timm:` teachers against timm's own blocks and norm, with random weights. No network."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from act3d.errors import InputError, MissingDependency
from act3d.models.backbones import hub, timm_models
from act3d.models.teachers import backbone_from_spec, backbone_spec, load_backbone

pytestmark = pytest.mark.timm

SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 4}
# Models of timm, shrunk.
MODELS: dict[str, dict[str, Any]] = {
    "vit_base_patch16_384": SMALL,
    "vit_small_patch16_224": SMALL,
    "vit_base_patch14_dinov2": SMALL,
    "deit_base_distilled_patch16_224": SMALL,
    "deit3_small_patch16_224": SMALL,
    "beit_base_patch16_224": SMALL,
    "beitv2_base_patch16_224": SMALL,
    "vit_base_patch16_clip_224": SMALL,
    "vit_base_patch16_clip_quickgelu_224": SMALL,
    "vit_base_patch16_siglip_224": SMALL,
    "vit_base_r50_s16_384": SMALL,
    "vit_giant_patch14_dinov2": {**SMALL, "img_size": 28},
    "mixer_b16_224": {"img_size": 64},
    "resmlp_12_224": {"img_size": 64},
}
MIXERS = [name for name in MODELS if name.startswith(("mixer", "resmlp"))]


def _model(timm: Any, name: str, **options: Any) -> Any:
    """A small random model; biases, norms and scales are random too."""
    torch.manual_seed(0)
    model = timm.create_model(name, **(MODELS[name] | options)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in key else 0.0, std=0.3)
    return model


@torch.no_grad()
def _expected(model: Any, x: torch.Tensor) -> torch.Tensor:
    for block in model.blocks:
        if hasattr(getattr(block, "attn", None), "relative_position_bias_table"):
            block.attn.relative_position_bias_table = None
        x = block(x)
    return model.norm(x)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in MIXERS])
def test_equals_timms_blocks_and_norm(timm, name: str) -> None:
    model = _model(timm, name)
    backbone = timm_models.convert(name, model, f"timm:{name}")
    x = torch.randn(3, 11, 32)
    torch.testing.assert_close(backbone(x), _expected(model, x), atol=2e-5, rtol=2e-5)
    assert (backbone.width, backbone.depth, backbone.length) == (32, 2, None)
    assert backbone.blocks[0].norm1.eps == model.blocks[0].norm1.eps
    again = backbone_from_spec(backbone.spec)
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(again(x), backbone(x))
    assert ("relative position bias" in backbone.spec["dropped"]) == name.startswith("beit")


def test_beits_position_bias_is_what_is_dropped(timm) -> None:
    model = _model(timm, "beit_base_patch16_224", img_size=32)
    x = torch.randn(1, 5, 32)
    with torch.no_grad():
        biased = model.norm(model.blocks[1](model.blocks[0](x)))
    backbone = timm_models.convert("beit_base_patch16_224", model, None)
    assert not torch.allclose(backbone(x), biased, atol=1e-3)
    torch.testing.assert_close(backbone(x), _expected(model, x), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", sorted(timm_models.ARCHITECTURES))
def test_known_architectures_are_timms(timm, name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert backbone_spec(f"timm:{name}") == timm_models._block_spec(name, model)


@pytest.mark.parametrize("name", MIXERS)
def test_mixers_run_as_they_came(timm, name: str, monkeypatch, tmp_path: Path) -> None:
    model = _model(timm, name)
    monkeypatch.setattr(timm_models, "_pretrained", lambda name: (model, f"timm:{name}"))
    backbone = load_backbone(f"timm:{name}")
    assert (backbone.length, backbone.accepts_prefix, backbone.depth) == (16, False, 12)
    x = torch.randn(2, 16, backbone.width)
    expected = _expected(model, x)
    assert torch.equal(backbone(x), expected)
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(module.training for module in nn.Sequential(backbone).train()[0].modules())
    backbone.check_length(10, 6)
    with pytest.raises(InputError, match=r"16 tokens: G = 10 patches \+ P = 10 .* 20; take P = 6"):
        backbone.check_length(10, 10)
    with pytest.raises(InputError, match="16 tokens"):
        backbone(torch.randn(2, 20, backbone.width))


@pytest.mark.parametrize("name", ["mixer_b16_224", "resmlp_24_224"])
def test_untrained_mixers_are_built_from_their_spec(timm, name: str) -> None:
    torch.manual_seed(2)
    first = load_backbone(f"untrained:timm:{name}")
    torch.manual_seed(2)
    second = backbone_from_spec(first.spec)
    assert first.length == 196
    assert first.source is None
    assert first.spec == backbone_spec(f"timm:{name}")
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    with torch.no_grad():
        first.blocks[0].norm1.bias.add_(1) if name.startswith("mixer") else first.blocks[0].norm1.beta.add_(1)
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 196, first.width)
    assert torch.equal(first(x), second(x))
    first.check_length(64, 132)


def test_untrained_of_any_other_name_asks_timm(timm) -> None:
    backbone = load_backbone("untrained:timm:vit_small_patch32_224")
    assert (backbone.width, backbone.depth, backbone.source) == (384, 12, None)
    assert abs(backbone.blocks[0].attn.qkv.weight.std().item() - 0.02) < 1e-3


@pytest.mark.parametrize(
    "name", ["resnet50", "swin_tiny_patch4_window7_224", "eva02_tiny_patch14_224", "convnext_tiny"]
)
def test_other_architectures_are_refused(timm, name: str) -> None:
    with pytest.raises(InputError, match=f"timm:{name} is a .*: act3d reads timm's ViT"):
        backbone_spec(f"timm:{name}")


@pytest.mark.parametrize("options", [{"qk_norm": True}, {"scale_attn_norm": True}, {"scale_mlp_norm": True}])
def test_blocks_that_do_more_are_refused(timm, options: dict[str, bool]) -> None:
    model = _model(timm, "vit_base_patch16_384", **options)
    with pytest.raises(InputError, match=r"its blocks are not act3d's: .* should have shape none"):
        timm_models.convert("vit_base_patch16_384", model, None)


def test_blocks_with_another_attention_scale_are_refused(timm) -> None:
    model = _model(timm, "vit_base_patch16_384")
    model.blocks[0].attn.scale *= 3
    model.blocks[0].attn.fused_attn = False
    with pytest.raises(InputError, match="its blocks are not act3d's: they compute something else"):
        timm_models.convert("vit_base_patch16_384", model, None)


@pytest.mark.parametrize("name", ["timm:vit_bass_patch16_384", "untrained:timm:vit_bass_patch16_384"])
def test_unknown_names_name_what_is_near(timm, name: str) -> None:
    with pytest.raises(InputError, match=r"has no such model; near: .*vit_base_patch16_384"):
        load_backbone(name)


def test_unknown_tags_are_refused(timm) -> None:
    with pytest.raises(InputError, match=r"timm:vit_base_patch16_384\.nonsense"):
        load_backbone("timm:vit_base_patch16_384.nonsense")


def _cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.unreachable.cache_clear()


@pytest.mark.parametrize("name", ["vit_base_patch16_384", "mixer_b16_224", "beit_base_patch16_224.in22k_ft_in22k"])
def test_offline_and_not_cached_names_the_file(timm, name: str, monkeypatch, tmp_path: Path) -> None:
    _cache(monkeypatch, tmp_path)
    with pytest.raises(MissingDependency, match=rf"of timm/{name}\S* is not in the .* HF_HUB_OFFLINE is set") as caught:
        load_backbone(f"timm:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_small_distilled_patch16_224"])
def test_cached_weights_are_used_offline(timm, name: str, monkeypatch, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    _cache(monkeypatch, tmp_path)
    torch.manual_seed(5)
    model = timm.create_model(name).eval()
    with torch.no_grad():
        model.blocks[0].attn.qkv.bias.normal_()
    repository = tmp_path / ("models--" + model.pretrained_cfg["hf_hub_id"].replace("/", "--"))
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    save_file(model.state_dict(), repository / "snapshots" / "abc" / "model.safetensors")
    backbone = load_backbone(f"timm:{name}")
    x = torch.randn(1, 9, backbone.width)
    torch.testing.assert_close(backbone(x), _expected(model, x), atol=2e-5, rtol=2e-5)
    tag = model.pretrained_cfg["tag"]
    assert backbone.source == f"timm:{name}.{tag}"
    again = load_backbone(backbone.source)
    assert torch.equal(again(x), backbone(x))


def test_timm_is_imported_by_act3d_alone() -> None:
    """In a fresh process: torchvision's operators do not load beside a CPU build of torch, and timm still comes up."""
    code = (
        "from act3d.models.teachers import load_backbone; print(load_backbone('untrained:timm:mixer_s32_224').length)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "49", done.stderr


def test_operators_are_declared_once(timm) -> None:
    from act3d.models.backbones.torchvision_operators import declare_torchvision_operators

    first = declare_torchvision_operators()
    assert declare_torchvision_operators() == first
    assert hasattr(torch.ops.torchvision, "nms")


def test_conversion_of_a_relu_model(timm) -> None:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=32, **SMALL, act_layer=nn.ReLU, norm_layer=partial(nn.LayerNorm, eps=1e-3)
    ).eval()
    backbone = timm_models.convert("relu", model, None)
    x = torch.randn(2, 4, 32)
    torch.testing.assert_close(backbone(x), _expected(model, x), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("deep", [False, True], ids=["shallow", "deep"])
@pytest.mark.parametrize(
    ("name", "prompts"), [("mixer_s32_224", 17), ("vit_tiny_patch16_224", 5), ("beit_base_patch16_224", 5)]
)
def test_both_kinds_of_prompt(timm, name: str, prompts: int, deep: bool) -> None:
    from act3d.models.prompting import PromptedTransformer

    backbone = load_backbone(f"untrained:timm:{name}")
    prompted = PromptedTransformer(24, backbone, prompts, deep, prompt_dropout=0.0)
    features, centers = torch.randn(2, 32, 24), torch.randn(2, 32, 3)
    out = prompted(features, centers)
    assert out.shape == (2, 32, 24)
    (out * torch.randn_like(out)).sum().backward()
    used = [prompted.prompt_token, prompted.deep_prompt_tokens] if deep else [prompted.prompt_token]
    assert all(token is not None and token.grad is not None and token.grad.abs().sum() > 0 for token in used)
    assert all(p.grad is None for p in backbone.parameters())


def test_prompts_that_do_not_fit_a_mixer_are_refused(timm) -> None:
    from act3d.models.prompting import PromptedTransformer

    prompted = PromptedTransformer(24, load_backbone("untrained:timm:mixer_s32_224"), 8, True, 0.0)
    with pytest.raises(InputError, match=r"49 tokens: G = 32 patches \+ P = 8 prompts are 40; take P = 17"):
        prompted(torch.randn(2, 32, 24), torch.randn(2, 32, 3))

"""Transformers of timm, read into our blocks; token mixers, whose blocks stay timm's."""

import difflib
import importlib.util
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from act3d.errors import CheckpointError, InputError, MissingDependency
from act3d.installing import how_to_install
from act3d.models.backbones.backbone import Backbone, complete, loaded_backbone
from act3d.models.backbones.hub import fetch
from act3d.models.backbones.torchvision_operators import declare_torchvision_operators


def _vit(width: int, depth: int, **other: Any) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": width // 64, **other}


def _beit(width: int, depth: int, scale: float) -> dict[str, Any]:
    return _vit(width, depth, layer_scale=scale, final_norm=False, dropped=["relative position bias"])


# Architectures that are known without timm: random backbones and released checkpoints of these need no timm.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{f"vit_tiny_patch16_{size}": _vit(192, 12) for size in (224, 384)},
    **{f"vit_small_patch16_{size}": _vit(384, 12) for size in (224, 384)},
    **{f"vit_base_patch16_{size}": _vit(768, 12) for size in (224, 384)},
    **{f"vit_large_patch16_{size}": _vit(1024, 24) for size in (224, 384)},
    **{f"vit_base_r50_s16_{size}": _vit(768, 12) for size in (224, 384)},
    "deit_small_distilled_patch16_224": _vit(384, 12),
    "deit_base_distilled_patch16_224": _vit(768, 12),
    **{f"beit_base_patch16_{size}": _beit(768, 12, 0.1) for size in (224, 384)},
    **{f"beit_large_patch16_{size}": _beit(1024, 24, 1e-5) for size in (224, 384)},
    "vit_base_patch16_clip_224": _vit(768, 12, eps=1e-5),
}


def timm_spec(name: str) -> dict[str, Any]:
    """Architecture of a timm model; needs timm unless the name is one of `ARCHITECTURES`."""
    known = ARCHITECTURES.get(name.split(".")[0])
    if known is not None:
        return complete({"name": f"timm:{name}", **known})
    with torch.device("meta"):
        model = _create(name)
    return _mixer_spec(name, model) if _is_mixer(model) else _block_spec(name, model)


def load_timm(name: str) -> Backbone:
    """A pretrained timm model; timm's weights come from the cache, or are fetched.

    Raises:
        MissingDependency: timm is not installed, or the weights are not cached and cannot be fetched.
        InputError: No such model, no pretrained weights, or blocks that compute something that ours do not.
    """
    model, source = _pretrained(name)
    if _is_mixer(model):
        return _mixer(_mixer_spec(name, model), model, source)
    return convert(name, model, source)


def random_mixer(spec: Mapping[str, Any]) -> Backbone:
    """A token mixer with timm's random weights."""
    name = str(spec["name"]).removeprefix("timm:")
    return _mixer(dict(spec), _create(name), None)


def convert(name: str, model: Any, source: str | None) -> Backbone:
    """A timm Vision Transformer in our blocks, compared with the original on random tokens.

    Raises:
        InputError: Its blocks have tensors that ours lack, or compute something else.
    """
    spec = _block_spec(name, model)
    blocks = {f"blocks.{key}": value for key, value in from_timm_names(model.blocks.state_dict()).items()}
    norm = {f"norm.{key}": value for key, value in model.norm.state_dict().items()}
    try:
        backbone = loaded_backbone(spec, blocks | norm, source)
    except CheckpointError as error:  # a norm of queries, a gate ...: tensors that our blocks do not have
        raise InputError(f"timm:{name}: its blocks are not act3d's: {error}") from error
    _compare(name, model, backbone)
    return backbone


def from_timm_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of timm's blocks ("0.attn.q_bias", "0.gamma_1", ...) under the names of ours.

    BEiT's biases of queries and values become one bias with zeros for the keys; its relative position tables are left
    out.
    """
    result: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if "relative_position" in name or name.endswith(("attn.k_bias", "attn.v_bias")):
            continue
        if name.endswith("attn.q_bias"):
            v_bias = state[name.replace("q_bias", "v_bias")]
            result[name.replace("q_bias", "qkv.bias")] = torch.cat([value, torch.zeros_like(value), v_bias])
        else:
            result[re.sub(r"\b(?:gamma_|ls)([12])(?:\.gamma)?$", r"ls\1", name)] = value
    return result


def _is_mixer(model: nn.Module) -> bool:
    return type(model).__name__ == "MlpMixer"


def _mixer_spec(name: str, model: Any) -> dict[str, Any]:
    block, length = model.blocks[0], int(model.stem.num_patches)
    width = int(block.mlp_channels.fc1.in_features)
    return complete(
        {"family": "timm", "name": f"timm:{name}", "width": width, "depth": len(model.blocks), "length": length}
    )


def _mixer(spec: dict[str, Any], model: Any, source: str | None) -> Backbone:
    return Backbone(list(model.blocks), model.norm, spec, source).to(torch.float32)


def _block_spec(name: str, model: Any) -> dict[str, Any]:
    """Spec of a Vision Transformer, read off its blocks."""
    blocks: Any = getattr(model, "blocks", None)
    parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2", "mlp.act")
    plain = isinstance(blocks, nn.Sequential | nn.ModuleList) and len({type(block) for block in blocks}) == 1
    if not plain or type(blocks[0]).__name__ != "Block" or not all(_has(blocks[0], part) for part in parts):
        raise InputError(
            f"timm:{name} is a {type(model).__name__}: act3d reads timm's ViT, DeiT, BEiT, CLIP, DINOv2 and hybrid "
            "models (a row of plain blocks), MLP-Mixer and ResMLP"
        )
    block = blocks[0]
    # Layer scale: BEiT's block holds it itself, ViT's in a module that is Identity if there is none.
    holder = block if hasattr(block, "gamma_1") else getattr(block, "ls1", None)
    scale = getattr(holder, "init_values", None) or None
    gated = block.mlp.fc1.out_features == 2 * block.mlp.fc2.in_features
    beit = hasattr(block.attn, "q_bias")
    return complete(
        {
            "name": f"timm:{name}",
            "width": block.attn.qkv.in_features,
            "depth": len(blocks),
            "heads": block.attn.num_heads,
            "hidden": block.mlp.fc2.in_features,
            "qkv_bias": block.attn.qkv.bias is not None or getattr(block.attn, "q_bias", None) is not None,
            "eps": block.norm1.eps,
            "activation": "swiglu" if gated else _activation(name, block.mlp.act),
            "layer_scale": scale,
            "final_norm": isinstance(model.norm, nn.LayerNorm),
            "dropped": ["relative position bias"] if beit else [],
        }
    )


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def _activation(name: str, activation: nn.Module) -> str:
    if type(activation).__name__ == "QuickGELU":
        return "quick_gelu"
    if type(activation).__name__ == "GELUTanh":
        return "gelu_tanh"
    if isinstance(activation, nn.GELU) or type(activation).__name__ == "GELU":
        return "gelu_tanh" if getattr(activation, "approximate", "none") == "tanh" else "gelu"
    if isinstance(activation, nn.ReLU):
        return "relu"
    raise InputError(f"timm:{name}: activation {type(activation).__name__} is none of GELU, QuickGELU, ReLU, SwiGLU")


@torch.no_grad()
def _compare(name: str, model: Any, backbone: Backbone) -> None:
    """Raise InputError if a block has something extra (a norm of queries, a gate, another scale)."""
    block = model.blocks[0].eval()
    if hasattr(block.attn, "relative_position_bias_table"):
        block.attn.relative_position_bias_table = None  # dropped, see `models.teachers`
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, backbone.width, generator=generator)
    theirs, ours = block(x), backbone.blocks[0](x)
    error = float((theirs - ours).abs().max() / theirs.abs().max())
    if not error < 1e-4:
        raise InputError(f"timm:{name}: its blocks are not act3d's: they compute something else (off by {error:.1e})")


def _timm() -> Any:
    if importlib.util.find_spec("timm") is None:
        raise MissingDependency(f"timm: teachers need timm: {how_to_install('timm')}")
    declare_torchvision_operators()
    import timm

    return timm


def _create(name: str, **options: Any) -> Any:
    timm = _timm()
    base = name.split(".")[0]
    if not timm.is_model(base):
        close = difflib.get_close_matches(base, timm.list_models(), n=3)
        raise InputError(
            f"timm:{name}: timm {timm.__version__} has no such model" + (f"; near: {', '.join(close)}" if close else "")
        )
    try:
        return timm.create_model(name, **options)
    except RuntimeError as error:  # a tag that timm does not know
        raise InputError(f"timm:{name}: {(str(error).splitlines() or ['cannot be made'])[0]}") from error


def _pretrained(name: str) -> tuple[Any, str]:
    """The model with its weights, and its full name: the tag says which training the weights come from."""
    with torch.device("meta"):
        config = _create(name).pretrained_cfg
    tag, repository = config.get("tag"), config.get("hf_hub_id")
    source = f"timm:{name}" if "." in name or not tag else f"timm:{name}.{tag}"
    if not repository and not config.get("url"):
        raise InputError(f"timm:{name}: timm has no pretrained weights for it; untrained:timm:{name} gives random ones")
    if not repository or config.get("custom_load") == "hf":
        return _fetched_by_timm(name), source
    filename = config.get("hf_hub_filename")
    repository, _, revision = repository.partition("@")
    for candidate in [filename] if filename else ["model.safetensors", "pytorch_model.bin"]:
        path = fetch(repository, candidate, revision or None)
        if path is not None:
            overlay = {"file": str(path), "custom_load": False}
            return _create(name, pretrained=True, pretrained_cfg_overlay=overlay), source
    raise InputError(f"timm:{name}: {repository} on the hub holds neither model.safetensors nor pytorch_model.bin")


def _fetched_by_timm(name: str) -> Any:
    """A model whose weights are not a plain file on the hub, so that timm has to fetch them."""
    try:
        return _create(name, pretrained=True)
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingDependency(f"timm:{name}: its weights are not cached and cannot be fetched: {reason}") from error

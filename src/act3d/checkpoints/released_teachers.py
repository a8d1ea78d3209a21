"""The pretrained Transformer inside a released stage-I file: which one it is, and its weights under our names."""

import re
from collections.abc import Callable
from typing import Any

import torch

from act3d.checkpoints.names import count, rename, subset
from act3d.checkpoints.released_file import State
from act3d.errors import CheckpointError
from act3d.models.backbones.backbone import complete
from act3d.models.backbones.hf_names import read_layers
from act3d.models.backbones.timm_models import from_timm_names

HEAD_WIDTH = 64  # released files do not store the number of heads: 64 channels a head throughout
PREFIX = "visual_embed."

# Token mixers by (width, depth, tokens): the release names them in its config, not in the file.
_MIXERS = {
    (768, 12, 196): "mixer_b16_224",
    (1024, 24, 196): "mixer_l16_224",
    (512, 8, 196): "mixer_s16_224",
    (384, 12, 196): "resmlp_12_224",
    (384, 24, 196): "resmlp_24_224",
    (384, 36, 196): "resmlp_36_224",
    (768, 24, 784): "resmlp_big_24_224",
}
_CLIP_NAMES = (
    ("ln_1.", "norm1."),
    ("ln_2.", "norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
    ("attn.in_proj_", "attn.qkv."),
    ("attn.out_proj.", "attn.proj."),
)


def teacher_spec(state: State) -> dict[str, Any]:
    """Architecture of the Transformer in a stage-I file, recognised by the names of its parameters.

    Raises:
        CheckpointError: None of the teachers of the release.
    """
    own = subset(state, PREFIX)
    width = state["proj_pre.weight"].shape[0]
    for mark, spec, _ in _KINDS:
        if any(re.match(mark, name) for name in own):
            return complete(spec(own, width))
    raise CheckpointError(
        f"the Transformer in this file is none of those of the release (it holds {next(iter(own), 'nothing')!r})"
    )


def teacher_state(state: State, spec: dict[str, Any]) -> State:
    """The Transformer's weights under the names of our `Backbone`: blocks, norm, norm_pre."""
    own = subset(state, PREFIX)
    for mark, _, convert in _KINDS:
        if any(re.match(mark, name) for name in own):
            return convert(own, spec)
    return {}


def _vit_spec(own: State, width: int) -> dict[str, Any]:
    """ViT, DeiT, BEiT and the Transformer of the hybrid, as timm names them."""
    return {
        "width": width,
        "depth": count(own, r"0\.(\d+)\."),
        "heads": max(1, width // HEAD_WIDTH),
        "hidden": own["0.0.mlp.fc1.weight"].shape[0],
        "qkv_bias": "0.0.attn.qkv.bias" in own or "0.0.attn.q_bias" in own,
        "layer_scale": 1e-5 if "0.0.gamma_1" in own or "0.0.ls1.gamma" in own else None,
        "final_norm": "1.weight" in own,
        "dropped": ["relative position bias"] if any("relative_position" in name for name in own) else [],
    }


def _vit_state(own: State, spec: dict[str, Any]) -> State:
    blocks = from_timm_names(subset(own, "0."))
    return {f"blocks.{k}": v for k, v in blocks.items()} | {f"norm.{k}": v for k, v in subset(own, "1.").items()}


def _clip_spec(own: State, width: int) -> dict[str, Any]:
    """The vision tower of CLIP, whose norm before the blocks the release keeps."""
    return {
        "width": width,
        "depth": count(own, r"1\.(\d+)\."),
        "heads": max(1, width // HEAD_WIDTH),
        "hidden": own["1.0.mlp.c_fc.weight"].shape[0],
        "activation": "quick_gelu",
        "eps": 1e-5,
        "pre_norm": True,
    }


def _clip_state(own: State, spec: dict[str, Any]) -> State:
    result = {f"norm_pre.{k}": v.float() for k, v in subset(own, "0.").items()}
    for i in range(spec["depth"]):
        block = rename(subset(own, f"1.{i}."), _CLIP_NAMES)
        result |= {f"blocks.{i}.{k}": v.float() for k, v in block.items()}
    return result | {f"norm.{k}": v.float() for k, v in subset(own, "2.").items()}


def _bert_spec(own: State, width: int) -> dict[str, Any]:
    """BERT; its heads are its own config's: 64 channels each, but 32 in the MiniLM family of width 384."""
    return {
        "width": width,
        "depth": count(own, r"0\.layer\.(\d+)\."),
        "heads": 12 if width == 384 else max(1, width // HEAD_WIDTH),
        "hidden": own["0.layer.0.intermediate.dense.weight"].shape[0],
        "norm_first": False,
        "eps": 1e-12,
    }


class _InMemory:
    """Tensors at hand, for the reader of transformers' files."""

    def __init__(self, state: State) -> None:
        self._state = state

    def names(self) -> list[str]:
        return list(self._state)

    def tensor(self, name: str) -> torch.Tensor:
        return self._state[name]


def _bert_state(own: State, spec: dict[str, Any]) -> State:
    return read_layers([_InMemory(subset(own, "0."))], {**spec, "name": "the Transformer in this file"})


def _mixer_spec(own: State, width: int) -> dict[str, Any]:
    """MLP-Mixer and ResMLP, which run as timm made them."""
    depth = count(own, r"0\.(\d+)\.")
    linear = own.get("0.0.linear_tokens.weight")
    tokens = (linear if linear is not None else own["0.0.mlp_tokens.fc1.weight"]).shape[1]
    name = _MIXERS.get((width, depth, tokens))
    if name is None:
        raise CheckpointError(f"a token mixer of width {width}, {depth} blocks and {tokens} tokens is not known")
    return {"family": "timm", "name": f"timm:{name}", "width": width, "depth": depth, "length": tokens}


_Spec = Callable[[State, int], dict[str, Any]]
_Convert = Callable[[State, dict[str, Any]], State]
_KINDS: tuple[tuple[str, _Spec, _Convert], ...] = (
    (r"0\.0\.attn\.qkv\.weight$", _vit_spec, _vit_state),
    (r"1\.0\.attn\.in_proj_weight$", _clip_spec, _clip_state),
    (r"0\.layer\.0\.attention\.", _bert_spec, _bert_state),
    (r"0\.0\.(mlp_tokens|linear_tokens)\.", _mixer_spec, _vit_state),
)

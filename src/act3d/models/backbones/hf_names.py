"""Tensors of transformers' encoders, in their old and new names, under the names of our blocks."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from act3d.errors import CheckpointError
from act3d.models.backbones.weights import WeightsFile

# Our name <- the names of the same part in a layer: ViT family, transformers 5, BERT family, CLIP, DistilBERT.
_PARTS: dict[str, tuple[str, ...]] = {
    "attn.q": ("attention.attention.query", "attention.q_proj", "attention.self.query", "self_attn.q_proj",
               "attention.q_lin"),
    "attn.k": ("attention.attention.key", "attention.k_proj", "attention.self.key", "self_attn.k_proj",
               "attention.k_lin"),
    "attn.v": ("attention.attention.value", "attention.v_proj", "attention.self.value", "self_attn.v_proj",
               "attention.v_lin"),
    "attn.proj": ("attention.output.dense", "attention.o_proj", "self_attn.out_proj", "attention.out_lin"),
    "norm1": ("layernorm_before", "norm1", "attention.output.LayerNorm", "layer_norm1", "sa_layer_norm"),
    "norm2": ("layernorm_after", "norm2", "output.LayerNorm", "layer_norm2", "output_layer_norm"),
    "mlp.fc1": ("intermediate.dense", "mlp.fc1", "ffn.lin1", "mlp.weights_in"),
    "mlp.fc2": ("output.dense", "mlp.fc2", "ffn.lin2", "mlp.weights_out", "mlp.down_proj"),
    "mlp.gate": ("mlp.gate_proj",),
    "mlp.value": ("mlp.up_proj",),
}  # fmt: skip
_OURS = {theirs: ours for ours, names in _PARTS.items() for theirs in names}
_SCALES = {"lambda_1": "ls1", "layer_scale1.lambda1": "ls1", "lambda_2": "ls2", "layer_scale2.lambda1": "ls2"}
_KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}  # gamma, beta: BERT out of TensorFlow
_LAYER = re.compile(r"^((?:.*\.)?layers?)\.(\d+)\.(.+)$")
_FINAL_NORMS = ("layernorm", "post_layernorm")
_NOT_OURS = {"text_model", "decoder"}  # other parts of the same file

Read = Callable[[], torch.Tensor]


def read_layers(files: Sequence[WeightsFile], spec: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Tensors of the encoder's layers and final norm, under the names of our `Backbone`.

    Args:
        files: The model's weights, in one file or several.
        spec: The completed architecture.

    Raises:
        CheckpointError: No encoder of that depth, a layer with tensors that our blocks do not have, or without some
            that they have.
    """
    where = {name: file for file in files for name in file.names()}
    prefix, layers = _encoder(list(where), spec)
    state: dict[str, torch.Tensor] = {}
    for index in range(spec["depth"]):
        parts: dict[str, torch.Tensor] = {}
        for rest in layers[index]:
            ours = _ours(rest)
            if ours:
                name = f"{prefix}.{index}.{rest}"
                parts[ours] = where[name].tensor(name)
            elif not (spec["dropped"] and "relative_position" in rest):  # BEiT's bias over the image grid
                raise CheckpointError(f"{spec['name']}: its layers hold {rest}, which act3d's blocks do not know")
        state |= {f"blocks.{index}.{name}": value for name, value in _joined(parts, spec).items()}
    if spec["final_norm"]:
        base = re.sub(r"(encoder\.|transformer\.)?layers?$", "", prefix)
        for kind in ("weight", "bias"):
            found = next((f"{base}{norm}.{kind}" for norm in _FINAL_NORMS if f"{base}{norm}.{kind}" in where), None)
            if found is None:
                raise CheckpointError(
                    f"{spec['name']}: the weights lack the norm after the last block ({base}layernorm)"
                )
            state[f"norm.{kind}"] = where[found].tensor(found)
    return state


def _encoder(names: list[str], spec: Mapping[str, Any]) -> tuple[str, dict[int, list[str]]]:
    """The prefix of the encoder's layers, and the names inside each layer."""
    groups: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        match = _LAYER.match(name)
        if match and not _NOT_OURS & set(match[1].split(".")):
            groups[match[1]][int(match[2])].append(match[3])
    fitting = [prefix for prefix, layers in groups.items() if sorted(layers) == list(range(spec["depth"]))]
    if len(fitting) != 1:
        found = ", ".join(f"{prefix} ({len(layers)} layers)" for prefix, layers in groups.items()) or "none"
        raise CheckpointError(f"{spec['name']}: expected one encoder of {spec['depth']} layers, found {found}")
    return fitting[0], groups[fitting[0]]


def _ours(rest: str) -> str | None:
    """Name in our block of a name in a layer, q, k, v (and SwiGLU's halves) still apart; None if there is none."""
    if rest in _SCALES:
        return _SCALES[rest]
    part, _, kind = rest.rpartition(".")
    return f"{_OURS[part]}.{_KINDS[kind]}" if part in _OURS and kind in _KINDS else None


def _joined(parts: dict[str, torch.Tensor], spec: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The parts with q, k, v joined to one matrix, and SwiGLU's two. A missing bias is 0 (BEiT's keys have none)."""
    weights = [parts.pop(f"attn.{part}.weight", None) for part in "qkv"]
    biases = [parts.pop(f"attn.{part}.bias", None) for part in "qkv"]
    found = [weight for weight in weights if weight is not None]
    if len(found) == 3:
        parts["attn.qkv.weight"] = torch.cat(found)
    if spec["qkv_bias"] and any(bias is not None for bias in biases):
        zeros = torch.zeros(spec["width"], device="cpu")
        parts["attn.qkv.bias"] = torch.cat([zeros if bias is None else bias for bias in biases])
    for kind in ("weight", "bias"):
        gate, value = parts.pop(f"mlp.gate.{kind}", None), parts.pop(f"mlp.value.{kind}", None)
        if gate is not None and value is not None:
            parts[f"mlp.fc1.{kind}"] = torch.cat([gate, value])
    return parts

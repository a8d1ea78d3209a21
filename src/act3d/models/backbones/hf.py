"""Encoders published for transformers, read from config.json and weights without importing transformers."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from act3d.errors import CheckpointError, InputError, MissingDependency
from act3d.models.backbones.backbone import Backbone, complete, loaded_backbone
from act3d.models.backbones.hf_names import read_layers
from act3d.models.backbones.hub import fetch
from act3d.models.backbones.weights import SafetensorsFile, TorchFile, WeightsFile

# Defaults of transformers' classes: a config.json may leave out what equals them (SigLIP's does).
_COMMON = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
}
_BEIT = _COMMON | {"layer_scale_init_value": 0.1, "use_mean_pooling": True}
_DINOV2 = _COMMON | {"layer_norm_eps": 1e-6, "mlp_ratio": 4, "layerscale_value": 1.0, "use_swiglu_ffn": False}
PRE_NORM: dict[str, dict[str, Any]] = {
    "vit": _COMMON,
    "vit_mae": _COMMON,
    "vit_msn": _COMMON | {"layer_norm_eps": 1e-6},
    "deit": _COMMON,
    "beit": _BEIT,
    "data2vec-vision": _BEIT,
    "dinov2": _DINOV2,
    "dinov2_with_registers": _DINOV2,
    "clip_vision_model": _COMMON | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    "siglip_vision_model": _COMMON | {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
}
POST_NORM: dict[str, dict[str, Any]] = {
    "bert": _COMMON,
    "roberta": _COMMON,
    "xlm-roberta": _COMMON,
    "camembert": _COMMON,
    "electra": _COMMON | {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
    "distilbert": {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "activation": "gelu"},
}
_TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}  # only the vision tower is read
_DISTILBERT = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
}
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}

GetFile = Callable[[str], Path | None]


def hf_spec(name: str) -> dict[str, Any]:
    """Architecture of a model on the hub or in a folder: reads its config.json only."""
    return _spec(name, _files(name)[0])


def load_hf(name: str) -> Backbone:
    """Read an encoder from a folder, the local cache, or the hub.

    Args:
        name: A folder with config.json and weights (as `save_pretrained` writes it), or an id on the hub. A folder
            goes before an id.

    Raises:
        InputError: No such model, or another architecture.
        MissingDependency: Not cached, and the hub cannot be reached or huggingface_hub is not installed.
        CheckpointError: The weights are damaged, or do not fit the config.
    """
    get, source = _files(name)
    spec = _spec(name, get)
    return loaded_backbone(spec, read_layers(_weights(name, get), spec), source)


def _files(name: str) -> tuple[GetFile, str]:
    """A function that finds a file of this model, and the name that `load_backbone` finds the model by."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        root = folder.resolve()
        return (lambda filename: root / filename if (root / filename).is_file() else None), f"hf:{root}"
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise InputError(f"hf:{name}: no such folder, and this cannot be an id on the hub (owner/name)")
    return (lambda filename: fetch(name, filename)), f"hf:{name}"


def _spec(name: str, get: GetFile) -> dict[str, Any]:
    """Spec of a model by its config.json."""
    path = get("config.json")
    if path is None:
        raise InputError(f"hf:{name}: config.json is missing")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON: {error}") from error
    kind = config.get("model_type")
    if kind in _TOWERS:
        kind, config = _TOWERS[kind], config.get("vision_config") or {}
    defaults = {**PRE_NORM, **POST_NORM}.get(kind)
    if defaults is None:
        known = ", ".join([*_TOWERS, *PRE_NORM, *POST_NORM])
        raise InputError(f"hf:{name}: model_type {kind!r} is not one that act3d reads; it reads {known}")
    config = {**defaults, **config}
    if kind == "distilbert":
        config = _COMMON | config | {ours: config[theirs] for theirs, ours in _DISTILBERT.items()}
    if kind in POST_NORM and (
        config.get("is_decoder") or config.get("position_embedding_type") not in (None, "absolute")
    ):
        raise InputError(f"hf:{name}: a decoder, or relative position embeddings: act3d reads plain encoders")
    return complete({"name": f"hf:{name}", **_architecture(name, kind, config)})


def _architecture(name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Spec of a config.json, whose keys are those of transformers."""
    width, activation = config["hidden_size"], _ACTIVATIONS.get(config["hidden_act"])
    if activation is None:
        raise InputError(f"hf:{name}: hidden_act {config['hidden_act']!r} is none of {', '.join(_ACTIVATIONS)}")
    hidden = config["intermediate_size"]
    if "mlp_ratio" in config:  # DINOv2
        hidden = int(width * config["mlp_ratio"])
        if config["use_swiglu_ffn"]:
            hidden, activation = (int(hidden * 2 / 3) + 7) // 8 * 8, "swiglu"
    scale = config.get("layerscale_value", config.get("layer_scale_init_value"))
    beit = "use_mean_pooling" in config
    return {
        "width": width,
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "hidden": hidden,
        "norm_first": kind in PRE_NORM,
        "qkv_bias": config.get("qkv_bias", True),
        "eps": config["layer_norm_eps"],
        "activation": activation,
        "layer_scale": scale,
        # A BEiT that pools by mean applies its norm to the pooled vector; there is none on its tokens.
        "final_norm": kind in PRE_NORM and not (beit and config["use_mean_pooling"]),
        "init_std": config["initializer_range"],
        "dropped": ["relative position bias"] if beit else [],
    }


def _weights(name: str, get: GetFile) -> list[WeightsFile]:
    """The model's weights, safetensors first, in one file or in parts."""
    tried = []
    for single, index, opened in (
        ("model.safetensors", "model.safetensors.index.json", SafetensorsFile),
        ("pytorch_model.bin", "pytorch_model.bin.index.json", TorchFile),
    ):
        try:
            path = get(single)
            if path is not None:
                return [opened(path)]
            parts = get(index)
            if parts is not None:
                filenames = sorted(set(json.loads(parts.read_text(encoding="utf-8"))["weight_map"].values()))
                return [opened(_required(name, filename, get)) for filename in filenames]
        except MissingDependency as error:  # offline: the other format may be cached
            tried.append(error)
    if tried:
        raise tried[0]
    raise InputError(f"hf:{name}: there is neither model.safetensors nor pytorch_model.bin")


def _required(name: str, filename: str, get: GetFile) -> Path:
    """Path of a part of the weights; raises InputError if it is missing."""
    path = get(filename)
    if path is None:
        raise InputError(f"hf:{name}: the weights' index names {filename}, which is not there")
    return path

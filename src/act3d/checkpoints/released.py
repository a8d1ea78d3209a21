"""Checkpoints of the released ACT code and its relatives, read into act3d's models."""

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from act3d.errors import CheckpointError
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.segmenter import Segmenter
from act3d.models.student import Student

HEAD_WIDTH = 64  # released files do not store the number of heads: 64 channels a head throughout
State = dict[str, torch.Tensor]

# Released name -> ours, tried in order on the start of a name.
_AUTOENCODER_NAMES = (
    ("encoder.", "patch_embedding."),
    ("dgcnn_1.", "token_head."),
    ("dgcnn_2.", "feature_head."),
    ("visual_embed.0.", "prompted.backbone.blocks."),
    ("visual_embed.1.", "prompted.backbone.norm."),
    ("visual_pos_embed.", "prompted.pos_embed."),
    ("visual_prompt_token", "prompted.prompt_token"),
    ("visual_prompt_pos", "prompted.prompt_pos"),
    ("deep_prompt_tokens", "prompted.deep_prompt_tokens"),
    ("deep_prompt_pos", "prompted.deep_prompt_pos"),
    ("proj_pre.", "prompted.proj_pre."),
    ("proj_post.", "prompted.proj_post."),
)
_ENCODER_NAMES = (("encoder.", "patch_embedding."), ("blocks.blocks.", "blocks."))
_STUDENT_NAMES = (
    ("ACT_decoder.", "decoder."),
    ("proj_head.", "head."),
    ("cls_pos", "decoder_cls_pos"),
)
_UNUSED_HEADS = ("lm_head.", "cls_head.")  # of the encoder: pretraining never used them


class Loaded(NamedTuple):
    """A model from a released file, and the names in the file that it has no use for."""

    model: nn.Module
    left_over: list[str]


def read_released(path: str | Path) -> State:
    """Tensors of a released file by name, without the wrapper and the `module.` in front; nothing in it is run.

    Raises:
        CheckpointError: Not a file, truncated, holds more than tensors and plain containers, or has no weights.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, it is not a plain file of tensors (torch.load, weights_only)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: cannot be read; truncated, or not a PyTorch file") from error
    for wrapper in ("base_model", "model_state_dict", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds {type(content).__name__}, not a dict of weights")
    state = {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not state:
        raise CheckpointError(f"{path}: holds no weights under 'base_model' or 'model_state_dict'")
    return state


def load_released(path: str | Path) -> Loaded:
    """Recognise a released file by its content and fill the model it belongs to.

    Raises:
        CheckpointError: Unreadable, of an unknown kind, or covering less than the model.
    """
    state = read_released(path)
    for mark, load in _KINDS:
        if mark in state:
            try:
                return load(state, str(path))
            except KeyError as error:  # a layer that the shapes are read off
                raise CheckpointError(f"{path}: covers less than the model, it lacks {error.args[0]!r}") from None
    raise CheckpointError(f"{path}: none of the released models (its first parameter is {next(iter(state))!r})")


def _load_autoencoder(state: State, where: str) -> Loaded:
    config = autoencoder_config(state)
    renamed = rename(state, _AUTOENCODER_NAMES)
    return fill(Autoencoder(**config), renamed, where)


def _load_student(state: State, where: str) -> Loaded:
    encoder = subset(state, "ACT_encoder.")
    teacher = subset(state, "dvae_tokenizer.")
    width = encoder["cls_token"].shape[2]
    config: dict[str, Any] = {
        "width": width,
        "depth": count(encoder, r"blocks\.blocks\.(\d+)\."),
        "heads": width // HEAD_WIDTH,
        "decoder_depth": count(state, r"ACT_decoder\.blocks\.(\d+)\."),
        "decoder_heads": width // HEAD_WIDTH,
        "teacher_width": state["proj_head.weight"].shape[0],
        "cls_loss": "cls_pos" in state,
    }
    unused = {f"ACT_encoder.{k}": v for k, v in encoder.items() if k.startswith(_UNUSED_HEADS)}
    own = {f"encoder.{k}": v for k, v in rename(encoder, _ENCODER_NAMES).items() if not k.startswith(_UNUSED_HEADS)}
    rest = {k: v for k, v in state.items() if not k.startswith(("ACT_encoder.", "dvae_tokenizer."))}
    own.update(rename(rest, _STUDENT_NAMES))
    if teacher:
        config["teacher"] = autoencoder_config(teacher)
        own.update({f"teacher.{k}": v for k, v in rename(teacher, _AUTOENCODER_NAMES).items()})
        config.update(patches=config["teacher"]["patches"], patch_size=config["teacher"]["patch_size"])
    loaded = fill(Student(**config), own, where)
    return Loaded(loaded.model, [*unused, *loaded.left_over])


_SEGMENTER_NAMES = (
    ("encoder.", "encoder.patch_embedding."),
    ("pos_embed.", "encoder.pos_embed."),
    ("blocks.blocks.", "encoder.blocks."),
    ("norm.", "encoder.norm."),
)


def _load_segmenter(state: State, where: str) -> Loaded:
    width = state["norm.weight"].shape[0]
    widths = [state[f"propagation_0_cls.mlp_convs.{i}.weight"].shape[0] for i in (0, 1)]
    widths += [state[f"convs{i}_cls.weight"].shape[0] for i in (1, 2)]
    category = state.get("label_conv_cls.0.weight")
    # Patches are not in the file: 128 of 32 points, as in both released recipes, which are the model's defaults.
    config: dict[str, Any] = {
        "classes": state["convs3_cls.weight"].shape[0],
        "categories": 0 if category is None else category.shape[1],
        "width": width,
        "depth": count(state, r"blocks\.blocks\.(\d+)\."),
        "heads": width // HEAD_WIDTH,
        "head_widths": widths,
    }
    return fill(Segmenter(**config), rename(state, _SEGMENTER_NAMES), where)


# A classifier's class token stands beside its blocks, where a pretrained student's stands under a prefix.
_CLASSIFIER_NAMES = (
    ("encoder.", "encoder.patch_embedding."),
    ("reduce_dim.", "encoder.reduce."),
    ("pos_embed.", "encoder.pos_embed."),
    ("blocks.blocks.", "encoder.blocks."),
    ("norm.", "encoder.norm."),
    ("cls_token", "encoder.cls_token"),
    ("cls_pos", "encoder.cls_pos"),
    ("cls_head_finetune.", "head."),
)


def _load_classifier(state: State, where: str) -> Loaded:
    """What trained is not in the file: "full", unless a linear head or a side network tells. Nor is the number of
    patches: 128 of 32 points for the 15 classes of ScanObjectNN, else 64, as in the released recipes."""
    width = state["cls_token"].shape[2]
    layers = count(state, r"cls_head_finetune\.(\d+)\.")
    linear = layers == 1
    classes = state[f"cls_head_finetune.{layers - 1}.weight"].shape[0]
    config: dict[str, Any] = {
        "classes": classes,
        "patches": 128 if classes == 15 else 64,
        "width": width,
        "depth": count(state, r"blocks\.blocks\.(\d+)\."),
        "heads": width // HEAD_WIDTH,
        "embed_width": state["reduce_dim.weight"].shape[1] if "reduce_dim.weight" in state else None,
        "transfer": "side" if "side_alpha" in state else "linear" if linear else "full",
    }
    return fill(Classifier(**config), rename(state, _CLASSIFIER_NAMES), where)


_KINDS: tuple[tuple[str, Callable[[State, str], Loaded]], ...] = (
    ("ACT_encoder.cls_token", _load_student),
    ("codebook", _load_autoencoder),
    ("cls_head_finetune.0.weight", _load_classifier),
    ("convs3_cls.weight", _load_segmenter),
)


def autoencoder_config(state: State) -> dict[str, Any]:
    """Arguments of `Autoencoder`, read off the shapes of a released stage-I file.

    The number of patches is not in the file: 64, as in every released recipe.
    """
    codes, width = state["codebook"].shape
    prompts = state["visual_prompt_token"].shape[1] if "visual_prompt_token" in state else 0
    return {
        "patches": 64,
        "patch_size": 4 * (state["decoder.mlp.4.weight"].shape[0] // 3),
        "width": width,
        "codes": codes,
        "teacher": _backbone_spec(state) if "proj_pre.weight" in state else None,
        "prompts": prompts,
        "deep_prompts": "deep_prompt_tokens" in state,
    }


def _backbone_spec(state: State) -> dict[str, Any]:
    """Architecture of the Transformer inside a stage-I file: that of the image Transformers (pre-norm, eps 1e-6)."""
    width = state["proj_pre.weight"].shape[0]
    first = "visual_embed.0.0."
    if f"{first}attn.qkv.weight" not in state:
        raise CheckpointError("the Transformer in this file is not one of the ViT shape; only these can be read")
    return {
        "width": width,
        "depth": count(state, r"visual_embed\.0\.(\d+)\."),
        "heads": width // HEAD_WIDTH,
        "hidden": state[f"{first}mlp.fc1.weight"].shape[0],
        "norm_first": True,
        "qkv_bias": f"{first}attn.qkv.bias" in state,
        "eps": 1e-6,
        "activation": "gelu",
        "layer_scale": False,
    }


def rename(state: State, names: tuple[tuple[str, str], ...]) -> State:
    """Replace the start of every name by the first rule that fits."""

    def new(name: str) -> str:
        for old, ours in names:
            if name.startswith(old):
                return ours + name[len(old) :]
        return name

    return {new(name): tensor for name, tensor in state.items()}


def subset(state: State, prefix: str) -> State:
    """What lies under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def count(state: State, pattern: str) -> int:
    """One more than the largest number that the pattern's group meets in a name."""
    return 1 + max((int(m.group(1)) for m in map(re.compile(pattern).match, state) if m), default=-1)


def fill(model: nn.Module, state: State, where: str) -> Loaded:
    """Load a renamed state; a parameter that the file lacks, or has in another shape, is fatal."""
    wanted = model.state_dict()
    missing = [k for k in wanted if k not in state]
    shapes = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if missing or shapes:
        bad, what = (missing, "lacks") if missing else (shapes, "has in another shape")
        raise CheckpointError(f"{where}: {what} {len(bad)} of the model's {len(wanted)} tensors, the first {bad[0]!r}")
    model.load_state_dict({k: state[k] for k in wanted})
    return Loaded(model.eval(), [k for k in state if k not in wanted])

"""Released students of ACT's relatives: Point-MAE, ReCon, Point-BERT."""

import re
from functools import partial
from typing import Any

import torch

from act3d.checkpoints.names import Loaded, count, fill, rename, subset
from act3d.checkpoints.released_file import State
from act3d.checkpoints.released_teachers import HEAD_WIDTH
from act3d.models.point_bert import PointBERT
from act3d.models.point_mae import PointMAE
from act3d.models.recon import ReCon

_ENCODER_NAMES = (
    ("encoder.", "patch_embedding."),
    ("reduce_dim.", "reduce."),
    ("blocks.blocks.", "blocks."),
)
# What pretraining needs and the encoder does not: a file may lack it.
_AROUND_ENCODER = ("decoder", "mask_token", "head.", "code_head.", "image_head.", "text_head.", "contrast_head.")


def encoder_config(encoder: State) -> dict[str, Any]:
    """Width, depth and heads, read off the shapes of a released point encoder."""
    width = encoder["norm.weight"].shape[0]
    return {"width": width, "depth": count(encoder, r"blocks\.blocks\.(\d+)\."), "heads": max(1, width // HEAD_WIDTH)}


def load_point_mae(state: State, where: str) -> Loaded:
    """Point-MAE's student."""
    config, own = _masked_autoencoder(state)
    return fill(partial(PointMAE, **config), own, where, _AROUND_ENCODER)


# ReCon's second stream, inside a block: the release keeps it beside the first, act3d in a list of its own.
_READER = re.compile(r"encoder\.blocks\.(\d+)\.(norm1|attn|norm2|mlp)_contrast\.(.+)")
_RECON_HEADS = (("img_proj.", "image_head."), ("text_proj.", "text_head."), ("cls_proj.", "contrast_head."))


def load_recon(state: State, where: str) -> Loaded:
    """ReCon's student: Point-MAE's, and the class, image and text token that read it."""
    config, own = _masked_autoencoder(state)
    own = second_stream(rename(own, _RECON_HEADS))
    for name in ("image", "text"):
        head = own.get(f"{name}_head.weight")
        config[f"{name}_width"] = None if head is None else head.shape[0]
    config["contrast"] = "contrast_head.0.weight" in own
    return fill(partial(ReCon, **config), own, where, _AROUND_ENCODER)


def second_stream(own: State) -> State:
    """Put ReCon's blocks and tokens, under `encoder.`, where act3d has them."""
    own = {_READER.sub(r"encoder.readers.\1.\2.\3", k): v for k, v in own.items()}
    for kind, ours in (("token", "global_tokens"), ("pos", "global_pos")):
        parts = [own.pop(f"encoder.{name}_{kind}") for name in ("cls", "img", "text")]
        own[f"encoder.{ours}"] = torch.cat(parts, dim=1)  # 3 x (1, 1, C) -> (1, 3, C)
    return own


def _masked_autoencoder(state: State) -> tuple[dict[str, Any], State]:
    """What Point-MAE and ReCon have in common: arguments read off the shapes, and all tensors under our names."""
    encoder = subset(state, "MAE_encoder.")
    config = encoder_config(encoder)
    rows = state["increase_dim.0.weight"].shape[0] if "increase_dim.0.weight" in state else 3 * 32
    config |= {
        "patch_size": rows // 3,
        "decoder_depth": count(state, r"MAE_decoder\.blocks\.(\d+)\."),
        "decoder_heads": config["heads"],
    }
    own = {f"encoder.{k}": v for k, v in rename(encoder, _ENCODER_NAMES).items()}
    rest = {k: v for k, v in state.items() if not k.startswith("MAE_encoder.")}
    own |= rename(rest, (("MAE_decoder.", "decoder."), ("increase_dim.0.", "head.")))
    if "head.weight" in own:
        own["head.weight"] = own["head.weight"].flatten(1)  # a 1x1 convolution there
    return config, own


def load_point_bert(state: State, where: str) -> Loaded:
    """Point-BERT's student: the query encoder; its momentum copy, queue and tokenizer are left over."""
    student = subset(state, "transformer_q.")
    config = encoder_config(student)
    if "reduce_dim.weight" in student:
        config["embed_width"] = student["reduce_dim.weight"].shape[1]
    if "lm_head.weight" in student:
        config["codes"] = student["lm_head.weight"].shape[0]
    if "cls_head.0.weight" in student:
        config["contrast_width"] = student["cls_head.0.weight"].shape[0]
    heads = ("lm_head.", "cls_head.", "mask_token")
    own = {f"encoder.{k}": v for k, v in rename(student, _ENCODER_NAMES).items() if not k.startswith(heads)}
    named = rename(student, (("lm_head.", "code_head."), ("cls_head.", "contrast_head.")))
    own |= {k: v for k, v in named.items() if k.startswith(("code_head.", "contrast_head.", "mask_token"))}
    own |= {k: v for k, v in state.items() if not k.startswith("transformer_q.")}
    return fill(partial(PointBERT, **config), own, where, _AROUND_ENCODER)

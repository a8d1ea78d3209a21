"""Released students of ACT's relatives: Point-MAE, ReCon, Point-BERT."""

from functools import partial
from typing import Any

from act3d.checkpoints.names import Loaded, count, fill, rename, subset
from act3d.checkpoints.released_file import State
from act3d.checkpoints.released_teachers import HEAD_WIDTH
from act3d.errors import CheckpointError
from act3d.models.point_bert import PointBERT
from act3d.models.point_mae import PointMAE

_ENCODER_NAMES = (
    ("encoder.", "patch_embedding."),
    ("reduce_dim.", "reduce."),
    ("blocks.blocks.", "blocks."),
)
# What pretraining needs and the encoder does not: a file may lack it.
_AROUND_ENCODER = ("decoder", "mask_token", "head.", "code_head.", "contrast_head.")


def encoder_config(encoder: State) -> dict[str, Any]:
    """Width, depth and heads, read off the shapes of a released point encoder."""
    width = encoder["norm.weight"].shape[0]
    return {"width": width, "depth": count(encoder, r"blocks\.blocks\.(\d+)\."), "heads": max(1, width // HEAD_WIDTH)}


def load_point_mae(state: State, where: str) -> Loaded:
    """Point-MAE's student; ReCon's too, which has the same parts beside a class, an image and a text token.

    ReCon's three tokens only read the patches, through attention of their own: without them the patches' features
    are exactly the released ones. They are left over, so the embedding is the mean and the maximum over patches.
    """
    encoder = subset(state, "MAE_encoder.")
    recon = "blocks.blocks.0.norm1_contrast.weight" in encoder
    config = encoder_config(encoder)
    rows = state["increase_dim.0.weight"].shape[0] if "increase_dim.0.weight" in state else 3 * 32
    config |= {
        "patch_size": rows // 3,
        "decoder_depth": count(state, r"MAE_decoder\.blocks\.(\d+)\."),
        "decoder_heads": config["heads"],
        "normed_residual": recon,
    }
    own = {f"encoder.{k}": v for k, v in rename(encoder, _ENCODER_NAMES).items()}
    rest = {k: v for k, v in state.items() if not k.startswith("MAE_encoder.")}
    own |= rename(rest, (("MAE_decoder.", "decoder."), ("increase_dim.0.", "head.")))
    if "head.weight" in own:
        own["head.weight"] = own["head.weight"].flatten(1)  # a 1x1 convolution there
    return fill(partial(PointMAE, **config), own, where, _AROUND_ENCODER)


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


def refuse_recon_classifier(state: State, where: str) -> Loaded:
    """Say why a fine-tuned ReCon cannot be used: its head reads the tokens that act3d's encoder does not have."""
    raise CheckpointError(
        f"{where}: a fine-tuned ReCon, whose head reads image and text tokens that act3d's encoder does not have; "
        "its pretrained student can be loaded"
    )

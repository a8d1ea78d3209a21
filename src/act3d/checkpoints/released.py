"""Checkpoints of others, read into act3d's models: the released ACT code, its relatives, torch-pointcloud."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from act3d.checkpoints.names import Loaded, count, fill, rename, subset
from act3d.checkpoints.released_file import State, read_released
from act3d.checkpoints.released_relatives import load_point_bert, load_point_mae, load_recon, second_stream
from act3d.checkpoints.released_teachers import HEAD_WIDTH, teacher_spec, teacher_state
from act3d.checkpoints.torch_pointcloud import is_torch_pointcloud, to_released
from act3d.errors import Act3dError, CheckpointError
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.segmenter import Segmenter
from act3d.models.student import Student

# Released name -> ours, tried in order on the start of a name.
_AUTOENCODER_NAMES = (
    ("encoder.", "patch_embedding."),
    ("dgcnn_1.", "token_head."),
    ("dgcnn_2.", "feature_head."),
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
SCANOBJECTNN_CLASSES = 15
_UNUSED_HEADS = ("lm_head.", "cls_head.")  # of the encoder: pretraining never used them


def load_released(path: str | Path) -> Loaded:
    """Recognise a released file by its content and fill the model it belongs to.

    Raises:
        CheckpointError: Unreadable, of an unknown kind, or covering less than the model.
    """
    state = read_released(path)
    if is_torch_pointcloud(state):
        state = to_released(state)
    for mark, load in _KINDS:
        if mark in state:
            try:
                return load(state, str(path))
            except KeyError as error:  # a layer that the shapes are read off
                raise CheckpointError(f"{path}: covers less than the model, it lacks {error.args[0]!r}") from None
            except Act3dError as error:
                raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from error
            except (IndexError, ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise CheckpointError(f"{path}: damaged, or not the model its names promise ({reason})") from error
    raise CheckpointError(f"{path}: none of the released models (its first parameter is {next(iter(state))!r})")


def _load_autoencoder(state: State, where: str) -> Loaded:
    config = autoencoder_config(state)
    return fill(partial(Autoencoder, **config), _autoencoder_state(state, config), where)


def _autoencoder_state(state: State, config: dict[str, Any]) -> State:
    """Everything of a stage-I file under our names, the Transformer inside it too."""
    rest = {k: v for k, v in state.items() if config["teacher"] is None or not k.startswith("visual_embed.")}
    own = rename(rest, _AUTOENCODER_NAMES)
    if config["teacher"] is not None:
        own |= {f"prompted.backbone.{k}": v for k, v in teacher_state(state, config["teacher"]).items()}
    return own


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
        "teacher_width": state["proj_head.weight"].shape[0] if "proj_head.weight" in state else width,
        "cls_loss": "cls_pos" in state,
    }
    unused = {f"ACT_encoder.{k}": v for k, v in encoder.items() if k.startswith(_UNUSED_HEADS)}
    own = {f"encoder.{k}": v for k, v in rename(encoder, _ENCODER_NAMES).items() if not k.startswith(_UNUSED_HEADS)}
    rest = {k: v for k, v in state.items() if not k.startswith(("ACT_encoder.", "dvae_tokenizer."))}
    own.update(rename(rest, _STUDENT_NAMES))
    if teacher:
        config["teacher"] = autoencoder_config(teacher)
        own.update({f"teacher.{k}": v for k, v in _autoencoder_state(teacher, config["teacher"]).items()})
        config.update(patches=config["teacher"]["patches"], patch_size=config["teacher"]["patch_size"])
    # The encoder is what counts: a file may lack what only pretraining needs.
    loaded = fill(partial(Student, **config), own, where, ("decoder", "mask_token", "head."))
    return Loaded(loaded.model, [*unused, *loaded.left_over], loaded.missing)


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
    return fill(partial(Segmenter, **config), rename(state, _SEGMENTER_NAMES), where)


# A classifier's class token is beside its blocks; a pretrained student's is under a prefix.
_CLASSIFIER_NAMES = (
    ("encoder.", "encoder.patch_embedding."),
    ("reduce_dim.", "encoder.reduce."),
    ("pos_embed.", "encoder.pos_embed."),
    ("blocks.blocks.", "encoder.blocks."),
    ("norm.", "encoder.norm."),
    *((f"{token}_{kind}", f"encoder.{token}_{kind}") for token in ("cls", "img", "text") for kind in ("token", "pos")),
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
        "patches": 128 if classes == SCANOBJECTNN_CLASSES else 64,
        "width": width,
        "depth": count(state, r"blocks\.blocks\.(\d+)\."),
        "heads": width // HEAD_WIDTH,
        "embed_width": state["reduce_dim.weight"].shape[1] if "reduce_dim.weight" in state else None,
        "transfer": "side" if "side_alpha" in state else "linear" if linear else "full",
        "head": "mlp2" if layers == 4 else None,  # Point-BERT's own
    }
    own = rename(state, _CLASSIFIER_NAMES)
    if "img_token" in state:  # ReCon's
        config |= {"normed_residual": True, "global_tokens": True}
        own = second_stream(own)
    return fill(partial(Classifier, **config), own, where)


_KINDS: tuple[tuple[str, Callable[[State, str], Loaded]], ...] = (
    ("ACT_encoder.cls_token", _load_student),
    ("MAE_encoder.img_token", load_recon),
    ("MAE_encoder.norm.weight", load_point_mae),
    ("transformer_q.norm.weight", load_point_bert),
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
        "teacher": teacher_spec(state) if "proj_pre.weight" in state else None,
        "prompts": prompts,
        "deep_prompts": "deep_prompt_tokens" in state,
    }

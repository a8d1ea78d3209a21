"""Trained models in use: files, arrays and lists in; tensors, labels and names out.

    predictor = act3d.load("runs/finetune")
    predictor.predict("chair.obj")   # [("chair", 0.93), ("stool", 0.04), ...]
    predictor.model                  # the module itself, which takes and gives tensors

A predictor owns the facts of a checkpoint (`meta`) and treats all input as the training data were treated. There is one
class for each kind of model.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NoReturn, Self, TypeVar

import torch
from torch import Tensor, nn

from act3d.checkpoints import POINTS_PER_PATCH
from act3d.device import choose_device
from act3d.errors import InputError
from act3d.geometry import Patches
from act3d.models.autoencoder import Reconstruction
from act3d.use.points import Points, as_patches, read_points
from act3d.use.texts import without_names

M = TypeVar("M", bound=nn.Module)


class Predictor(Generic[M]):
    """A model with the facts of its checkpoint; the methods that all kinds share.

    Args:
        model: The module; put in eval mode.
        meta: Facts beside the weights, see `act3d.checkpoints.native`.
        left_over: Names in the file that the model does not have.
        missing: Parameters that the file lacked: they hold random numbers.
        path: Where the model comes from, if from a file.

    Calling a predictor calls its model, with whatever the model's `forward` takes.
    """

    def __init__(
        self,
        model: M,
        meta: Mapping[str, Any] | None = None,
        left_over: Sequence[str] = (),
        missing: Sequence[str] = (),
        path: Path | None = None,
    ) -> None:
        self.model: M = model.eval()
        self.meta: dict[str, Any] = dict(meta or {})
        if self.channels:
            self.meta["channels"] = list(self.channels)
        self.left_over, self.missing, self.path = list(left_over), list(missing), path

    @property
    def kind(self) -> str:
        """Kind of the model: "student", "classifier" ..."""
        return str(self.model.kind)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the model's weights."""
        return next(self.model.parameters()).dtype

    @property
    def channels(self) -> tuple[str, ...]:
        """What the model's points have beside x, y and z, see `act3d.channels`."""
        return tuple(getattr(self.model, "channels", ()))

    @property
    def points(self) -> int:
        """How many points to take of a file or of a dataset's cloud: as in training, else 16 a patch."""
        return int(self.meta.get("points") or POINTS_PER_PATCH * self._size("patches"))

    @property
    def names(self) -> Sequence[str | int]:
        """What the model's outputs mean: names of classes, else their numbers; empty where there are no classes."""
        known, count = list(self.meta.get("classes") or []), self._size("classes")
        return known if len(known) == count else list(range(count))

    def to(self, device: str | torch.device) -> Self:
        """Move the model, and return this predictor.

        Raises:
            InputError: No such device.
        """
        self.model.to(choose_device(device))
        return self

    def read(self, path: str | os.PathLike[str], up: str | None = None) -> Tensor:
        """Read a mesh or cloud as this model's training data were read: (N, 3), N = `points`.

        Args:
            path: A file of any format that `act3d prepare` reads.
            up: The file's up axis, x, y or z; by default that of the training files.

        Warns:
            UserWarning: Something was inferred, see `act3d.read_points`.
        """
        return read_points(path, self.meta, self.points, up)

    def patchify(self, points: Points) -> Patches:
        """Cut what `act3d.use.points` makes points of into this model's patches (B, G, M, 3), (B, G, 3)."""
        return as_patches(points, self, self._size("patches"), self._size("patch_size"))

    def _size(self, name: str) -> int:
        """A number of the model: patches, patch_size, classes (0 where there are none)."""
        return int(getattr(self.model, name, 0))

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the model's `forward` gives."""
        return self.model(*inputs, **options)

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        facts = [f"{count / 1e6:.1f} M parameters", f"{self.model.patches} patches of {self.model.patch_size} points"]
        if self.names:
            shown = ", ".join(map(str, self.names[:3])) + (" ..." if len(self.names) > 3 else "")
            facts.append(f"{len(self.names)} classes ({shown})")
        data = (self.meta.get("data") or {}).get("name")
        facts += [f"trained on {data}"] if data else []
        facts += [f"on {self.device}"] + ([f"from {self.path}"] if self.path else [])
        return f"<{type(self).__name__}: {'; '.join(facts)}>"

    # What only some kinds can do. The one line that others end in says which.

    def embed(self, points: Points) -> Tensor:
        """One vector a cloud: see `EncoderPredictor`."""
        self._cannot("gives no embedding", "a student, point_mae, point_bert or classifier")

    def patch_features(self, points: Points) -> Tensor:
        """Features of every patch: see `EncoderPredictor`."""
        self._cannot("gives no patch features", "a student, point_mae, point_bert or classifier")

    def predict(self, *inputs: Any, **options: Any) -> Any:
        """Classes of shapes (`ClassifierPredictor`), or features of hidden patches (`StudentPredictor`)."""
        self._cannot("names nothing", "a classifier")

    def rank(self, *inputs: Any, **options: Any) -> Any:
        """Every class with its probability: see `ClassifierPredictor` and `AlignedPredictor`."""
        self._cannot("names nothing", "a classifier")

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """One vector a text: see `AlignedPredictor`."""
        self._fail(without_names(self.kind))

    def embed_shape(self, points: Points) -> Tensor:
        """One vector a cloud, among those of texts: see `AlignedPredictor`."""
        self._fail(without_names(self.kind))

    def classify(self, points: Points, labels: Sequence[str]) -> Any:
        """The likeliest of any words: see `AlignedPredictor`."""
        self._fail(without_names(self.kind))

    def segment(self, *inputs: Any, **options: Any) -> Any:
        """A label for every point: see `SegmenterPredictor`."""
        self._cannot("labels no points", "a segmenter")

    def segment_scan(self, *inputs: Any, **options: Any) -> Any:
        """A label for every point of a whole scan: see `SegmenterPredictor`."""
        self._cannot("labels no points", "a segmenter")

    def tokenize(self, points: Points) -> Tensor:
        """The code of every patch: see `AutoencoderPredictor`."""
        self._cannot("has no codebook", "an autoencoder")

    def teacher_features(self, points: Points) -> Tensor:
        """The features that stage II predicts: see `AutoencoderPredictor`."""
        self._cannot("is no teacher", "an autoencoder")

    def reconstruct(self, points: Points) -> Reconstruction:
        """Clouds decoded from codes: see `AutoencoderPredictor`."""
        self._cannot("rebuilds no clouds", "an autoencoder")

    def _cannot(self, what: str, instead: str) -> NoReturn:
        self._fail(f"a model of kind {self.kind!r} {what}; take {instead}")

    def _fail(self, what: str) -> NoReturn:
        raise InputError(f"{self.path}: {what}" if self.path else what)

"""Predictors of models that look at single shapes: autoencoder, students, classifier."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from act3d.errors import InputError
from act3d.geometry import Patches
from act3d.losses import build_loss
from act3d.models.autoencoder import Autoencoder, Reconstruction
from act3d.models.classifier import Classifier
from act3d.models.encoder import EncoderModel
from act3d.models.masking import count_hidden
from act3d.models.student import Student, StudentOutput
from act3d.use.points import Mask, Points, as_mask, is_single
from act3d.use.predictor import Predictor

E = TypeVar("E", bound=EncoderModel)


class AutoencoderPredictor(Predictor[Autoencoder]):
    """Stage I in use: codes, the teacher's features, rebuilt clouds."""

    @torch.no_grad()
    def tokenize(self, points: Points) -> Tensor:
        """The code of every patch, int64 (B, G)."""
        return self.model.tokens(self.patchify(points))

    @torch.no_grad()
    def teacher_features(self, points: Points) -> Tensor:
        """The features (B, G, C) that stage II predicts."""
        return self.model.features(self.patchify(points))

    @torch.no_grad()
    def reconstruct(self, points: Points) -> Reconstruction:
        """Clouds decoded from the arg-max codes of their patches."""
        return self.model.reconstruct(self.patchify(points))


class EncoderPredictor(Predictor[E]):
    """A point encoder in use: embeddings and patch features. Point-MAE and Point-BERT need no more.

    Attributes:
        backend: What computes embeddings; see `act3d.use.onnx_embedding` for others.
    """

    backend: str = "torch"

    @torch.no_grad()
    def embed(self, points: Points) -> Tensor:
        """One vector a cloud (B, 2C): class token (mean over patches without one), then the maximum over patches."""
        return self.model.embed(self.patchify(points))

    @torch.no_grad()
    def patch_features(self, points: Points) -> Tensor:
        """Encoder features of every patch (B, G, C), nothing hidden."""
        return self.model.patch_features(self.patchify(points))


class StudentPredictor(EncoderPredictor[Student]):
    """Stage II in use: an encoder, and the prediction of the teacher's features."""

    def predict(self, points: Points, mask: Mask) -> Tensor:
        """Features (B, H, D) of hidden patches, in ascending order, as the teacher would give them.

        Args:
            points: Whatever `act3d.use.points` makes points of.
            mask: bool Tensor or array with shape (B, G), True = hidden, the same count in every cloud.

        Raises:
            InputError: The mask is unfit.
        """
        return self._masked(self.patchify(points), mask).predicted

    def loss(self, points: Points, mask: Mask, kind: str = "cosine") -> Tensor:
        """Loss of this student against the teacher that it carries: scalar.

        Args:
            points, mask: As in `predict`.
            kind: A name of `act3d.losses.LOSSES`; checkpoints do not say which one they were trained with.

        Raises:
            InputError: This student carries no teacher, or the mask is unfit.
        """
        if self.model.teacher is None:
            raise InputError("this student carries no teacher: its checkpoint holds the student alone")
        patches = self.patchify(points)
        output = self._masked(patches, mask)
        with torch.no_grad():
            target = self.model.teacher.features(patches)
        return self.model.loss(output, target, build_loss(kind))

    def _masked(self, patches: Patches, mask: Mask) -> StudentOutput:
        hidden = as_mask(mask, patches)
        output: StudentOutput = self.model(patches, hidden, count_hidden(hidden, patches.centers))
        return output


class ClassifierPredictor(EncoderPredictor[Classifier]):
    """A classifier in use; calling it gives logits (B, classes)."""

    def __call__(self, points: Points) -> Tensor:
        """Logits (B, classes)."""
        logits: Tensor = self.model(self.patchify(points))
        return logits

    @torch.no_grad()
    def predict(self, points: Points) -> list[tuple[str | int, float]]:
        """Name what points show.

        Args:
            points: One cloud (N, 3) or the path of one file; or a batch (B, N, 3), or a list of clouds and paths.

        Returns:
            Of one cloud: every class with its probability, the likeliest first. Of a batch or a list: the likeliest
            class of every cloud with its probability. Classes are named if the checkpoint knows names, else numbered.
        """
        rows = self.rank(points)
        return rows[0] if is_single(points) else [row[0] for row in rows]

    @torch.no_grad()
    def rank(self, points: Points) -> list[list[tuple[str | int, float]]]:
        """For every cloud all classes with their probabilities, the likeliest first."""
        return ranked(self(points), self.names)


def ranked(logits: Tensor, names: Sequence[str | int]) -> list[list[tuple[str | int, float]]]:
    """For every row of logits (B, T) all names with their probabilities, the likeliest first."""
    values, order = logits.softmax(dim=1).sort(dim=1, descending=True, stable=True)
    rows = zip(order.tolist(), values.tolist(), strict=True)
    return [[(names[i], p) for i, p in zip(row, probabilities, strict=True)] for row, probabilities in rows]

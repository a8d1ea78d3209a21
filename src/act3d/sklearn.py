"""act3d in scikit-learn: files in, vectors out.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from act3d.sklearn import ShapeEmbedder

model = make_pipeline(ShapeEmbedder("runs/pretrain"), LogisticRegression())
model.fit(["chair0.obj", "lamp0.stl"], ["chair", "lamp"]).predict(["mine.ply"])
"""

import os
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from act3d.use.points import Cloud
from act3d.use.shape_predictors import EncoderPredictor


class ShapeEmbedder(TransformerMixin, BaseEstimator):
    """A transformer of scikit-learn that embeds shapes by a frozen encoder; nothing is learnt by `fit`.

    Args:
        checkpoint: A student, classifier or any other encoder: what `act3d.load` takes.
        up: Up axis of files, x, y or z; "auto" = as in the files that the model was trained on.
        batch_size: Shapes at once.
        device: "cpu", "cuda:0" ..., "mps" or "auto".

    Attributes:
        predictor_: The encoder.
        n_features_out_: Numbers of a vector.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] = "",
        up: Literal["auto", "x", "y", "z"] = "auto",
        batch_size: int = 32,
        device: str = "auto",
    ) -> None:
        self.checkpoint = checkpoint
        self.up = up
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Sequence[Cloud], y: Any = None) -> Self:
        """Load the encoder.

        Raises:
            CheckpointError: No such checkpoint, or one that gives no embedding.
        """
        from act3d.use.load import load

        self.predictor_ = load(os.fspath(self.checkpoint), self.device, expect=EncoderPredictor)
        self.n_features_out_ = 2 * int(self.predictor_.model.width)
        return self

    def transform(self, X: Sequence[Cloud]) -> NDArray[np.float32]:
        """Embed files and clouds.

        Args:
            X: Paths, and arrays or tensors (N, 3); or one array (S, N, 3).

        Returns:
            Array with shape (S, F), float32.

        Raises:
            InputError: A file that cannot be read, by its name; a cloud of another shape.
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        up = None if self.up == "auto" else self.up
        rows = [np.empty((0, self.n_features_out_), np.float32)]
        for start in range(0, len(X), self.batch_size):
            block = [
                self.predictor_.read(item, up) if isinstance(item, str | os.PathLike) else item
                for item in X[start : start + self.batch_size]
            ]
            rows.append(self.predictor_.embed(block).float().cpu().numpy())
        return np.concatenate(rows)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the numbers of a vector: f0, f1 ..."""
        return np.array([f"f{i}" for i in range(self.n_features_out_)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        return tags

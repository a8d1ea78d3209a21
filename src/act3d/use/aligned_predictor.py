"""Aligned encoders in use: shapes and texts in one space, so that any words name shapes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from act3d.errors import ConfigError, InputError
from act3d.models.encoder import EncoderModel
from act3d.models.student import Student
from act3d.models.text_head import TextHead, TextSide
from act3d.use.embed_shapes import facts_of
from act3d.use.points import Points, is_single
from act3d.use.shape_predictors import EncoderPredictor, StudentPredictor, ranked
from act3d.use.text_embeddings import encode_texts
from act3d.use.text_vectors import SUFFIX, TextVectors, read_text_vectors, split_labels
from act3d.use.texts import label_text

M = TypeVar("M", bound=EncoderModel)


class AlignedPredictor(EncoderPredictor[M]):
    """An encoder that learnt from names, with the text Transformer that it learnt from (package `act3d[minilm]`):
    what `act3d align` made, or pretraining with `align.weight`.

    predictor.classify("chair.obj", ["chair", "table", "lamp"])   # [("chair", 0.9), ...]
    predictor.embed_shape("chair.obj") @ predictor.embed_text(["a chair"]).T   # cosines

    Attributes:
        labels: What `rank` chooses from when it is given no labels.
        known_texts: Vectors of texts from a file (`use_texts`), instead of the text Transformer's; None = none.
    """

    labels: Sequence[str] = ()
    known_texts: TextVectors | None = None

    @property
    def head(self) -> TextSide:
        """The part of the model that knows where texts are."""
        assert self.model.alignment is not None
        return self.model.alignment

    @torch.no_grad()
    def embed_shape(self, points: Points) -> Tensor:
        """One unit vector a cloud (B, D), to be compared with those of texts; `embed` gives the encoder's features."""
        return self.model.among_texts(self.patchify(points))

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """One unit vector a text (T, D), made as the training texts were: "hand_tool2" is read as "hand tool".

        Raises:
            InputError: A single string instead of a list, or a text that the file in use does not hold.
            MissingDependency, CheckpointError: The text Transformer is not installed, or is another one.
        """
        if isinstance(texts, str):
            raise InputError("texts is one string; give a list of strings")
        if self.known_texts is not None:
            return torch.from_numpy(self.known_texts.of(texts)).to(self.head.text_mean)
        return self.head.place_texts(encode_texts([label_text(text, self._clean) for text in texts]))

    @property
    def _clean(self) -> bool:
        return bool((self.meta.get("texts") or {}).get("clean", True))

    @torch.no_grad()
    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Texts with their vectors, to be written to a file that replaces the text Transformer."""
        vectors = self.embed_text(texts).float().cpu().numpy()
        return TextVectors(list(texts), vectors, facts_of(self)["checkpoint"], float(self.head.scale), self._clean)

    def use_texts(self, path: str | Path) -> TextVectors:
        """Take the vectors of texts from a file that `act3d export --format texts` wrote, and return these.

        Raises:
            InputError: No such file, or another one.
            CheckpointError: It was made by another model.
        """
        known = read_text_vectors(path)
        known.check_model(facts_of(self)["checkpoint"], str(self.path))
        self.known_texts = known
        return known

    def take_labels(self, given: str) -> list[str]:
        """The words of a setting: between commas, of a text file, or those of a file of text vectors, then in use.

        Raises:
            ConfigError: Fewer than two different words.
            InputError, CheckpointError: See `use_texts`.
        """
        words = self.use_texts(given).texts if Path(given).suffix == SUFFIX else split_labels(given)
        if len(set(words)) < 2:
            raise ConfigError(
                f'labels: {given!r} holds {len(set(words))}; give two or more words to choose from, as in "chair,table"'
            )
        return words

    def classify(self, points: Points, labels: Sequence[str]) -> list[tuple[str | int, float]]:
        """Name what points show by any words, of which nothing was learnt as a class (zero-shot).

        Args:
            points: One cloud (N, 3) or the path of one file; or a batch (B, N, 3), or a list of clouds and paths.
            labels: Two or more words or phrases to choose from.

        Returns:
            Of one cloud: every label with its probability, the likeliest first. Of a batch or a list: the likeliest
            label of every cloud with its probability. Probabilities are a softmax at the learnt temperature: they sum
            to 1 over these labels, even where none of them fits.

        Raises:
            InputError: Fewer than two labels, or one twice.
        """
        rows = self.rank(points, labels)
        return rows[0] if is_single(points) else [row[0] for row in rows]

    @torch.no_grad()
    def rank(self, points: Points, labels: Sequence[str] | None = None) -> list[list[tuple[str | int, float]]]:
        """For every cloud all labels with their probabilities, the likeliest first; by default `self.labels`."""
        return self.rank_vectors(self.embed_shape(points), self.labels if labels is None else labels)

    @torch.no_grad()
    def rank_vectors(self, vectors: Tensor, labels: Sequence[str]) -> list[list[tuple[str | int, float]]]:
        """`rank` of clouds whose vectors (B, D) `embed_shape` has made."""
        if isinstance(labels, str) or len(set(labels)) < 2 or len(set(labels)) < len(labels):
            raise InputError(f"labels: {labels!r} is not allowed; give two or more different words")
        return ranked(self.head.scores(vectors, self.embed_text(labels)), list(labels))


@torch.no_grad()
def place_among_texts(predictor: EncoderPredictor[Any], points: Points, embedded: Tensor) -> Tensor:
    """What `embed_shape` gives (B, D), from embeddings (B, F) of the same points where these are all that it needs."""
    head = predictor.model.alignment
    if isinstance(head, TextHead):
        return head.place(embedded.to(predictor.device))
    return predictor.model.among_texts(predictor.patchify(points))  # ReCon's text token is no part of an embedding


class AlignedStudentPredictor(AlignedPredictor[Student], StudentPredictor):
    """A masked student that learnt names as well: any words, and the prediction of the teacher's features."""

"""The models behind the page, loaded when first needed: the index's encoder, and a classifier if there is one."""

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from act3d.errors import InputError
from act3d.readers.by_suffix import Sample, read_sample
from act3d.readers.guarded import Lost, limits_for, read_one
from act3d.use.embeddings import check_model, made_by
from act3d.use.reading import Reading
from act3d.use.text_vectors import read_text_vectors

if TYPE_CHECKING:
    from act3d.use.predictor import Predictor
    from act3d.use.shape_predictors import ClassifierPredictor, EncoderPredictor


class Seen(NamedTuple):
    """A file as the encoder sees it: points (N, 3) in its frame, an embedding (F,), which axis was up, and remarks."""

    points: NDArray[np.float32]
    embedding: NDArray[np.float32]
    up: str
    notes: list[str]


class Models:
    """Loads models once, and asks them from one thread at a time.

    Args:
        checkpoint, backend: Of the encoder.
        made: Facts about the encoder that the index was made with; None = there is no index yet.
        classifier: Checkpoint of a classifier; "" = the encoder, if it is one.
        device: Where to compute.
        text_vectors: A file of text vectors, taken instead of the text Transformer; "" = none.
        remedy: What gives an index of another encoder, see `act3d.use.embeddings.check_model`.

    Raises:
        InputError: Not such a file.
        CheckpointError: Its vectors are of another model than the index.
    """

    def __init__(
        self,
        checkpoint: str,
        backend: str,
        made: Mapping[str, Any] | None,
        classifier: str,
        device: str,
        text_vectors: str = "",
        remedy: str = "",
    ) -> None:
        self.checkpoint, self.backend, self.made, self.remedy = checkpoint, backend, made, remedy
        self._classifier, self.device = classifier, device
        self._known_texts = read_text_vectors(text_vectors) if text_vectors else None
        if self._known_texts is not None and made is not None:
            self._known_texts.check_model(made_by(made)[0], "the index")
        self._lock = threading.RLock()
        self._loaded: dict[str, Any] = {}

    def encoder(self) -> "EncoderPredictor[Any]":
        """Return the encoder.

        Raises:
            CheckpointError: Not the one that the index was made with.
        """
        from act3d.use.embed_shapes import facts_of
        from act3d.use.onnx_embedding import load_encoder

        with self._lock:
            if "encoder" not in self._loaded:
                found = load_encoder(self.checkpoint, self.device, self.backend)
                if self.made is not None:
                    check_model("this index", self.made, facts_of(found), self.remedy)
                if self._known_texts is not None:
                    self._known_texts.check_model(facts_of(found)["checkpoint"], self.checkpoint)
                self._loaded["encoder"] = found
            return self._loaded["encoder"]

    def classifier(self) -> "ClassifierPredictor | None":
        """Return the classifier, or None where there is none."""
        from act3d.use.load import load
        from act3d.use.shape_predictors import ClassifierPredictor

        with self._lock:
            if "classifier" not in self._loaded:
                found = load(self._classifier, self.device, expect=ClassifierPredictor) if self._classifier else None
                own = self.encoder() if not self._classifier else None
                self._loaded["classifier"] = own if isinstance(own, ClassifierPredictor) else found
            return self._loaded["classifier"]

    def see(self, path: Path, name: str, reading: Reading, stopped: threading.Event | None = None) -> Seen:
        """Read a file that may be anybody's, in a process of its own, and embed it.

        Args:
            path: Where it lies.
            name: What its owner calls it; its suffix says what it holds.
            reading: How the index's files were read.
            stopped: Reading is given up when this is set.

        Raises:
            InputError: It cannot be read; names it.
        """
        encoder = self.encoder()
        sample = _read(path, name, encoder.points, stopped)
        points, up, notes = _in_frame(sample, name, encoder, reading)
        with self._lock:
            embedding = encoder.embed(points[None]).float().cpu().numpy()[0]
        return Seen(points.numpy(), embedding, up, notes)

    def classify(self, path: Path, name: str, reading: Reading, stopped: threading.Event | None = None) -> Any:
        """Return all classes of the classifier with their probabilities, likeliest first; None without classifier."""
        classifier = self.classifier()
        if classifier is None:
            return None
        sample = _read(path, name, classifier.points, stopped)
        points, _, _ = _in_frame(sample, name, classifier, reading)
        with self._lock:
            return [(str(label), float(share)) for label, share in classifier.rank(points[None])[0]]

    def phrases(self) -> list[str]:
        """Return the only words that can be searched for, where they come from a file; else none."""
        return [] if self._known_texts is None else self._known_texts.texts

    def texts(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector (D,) of a text, of an encoder that learnt names.

        Raises:
            InputError: The file of text vectors does not hold it.
            MissingDependency: The text Transformer is not installed, and there is no file.
        """
        if self._known_texts is not None:
            return self._known_texts.of([text])[0]
        with self._lock:
            return self.encoder().embed_text([text]).float().cpu().numpy()[0]


def _read(path: Path, name: str, count: int, stopped: threading.Event | None) -> Sample:
    found = read_one(partial(read_sample, count=count), path, limits_for(path), stopped)
    if isinstance(found, Lost):
        raise InputError(f"{name}: {found.reason}")
    return found


def _in_frame(sample: Sample, name: str, predictor: "Predictor[Any]", reading: Reading) -> tuple[Any, str, list[str]]:
    """Points (N, 3) as a model takes them, which axis of the file is up, and what was inferred."""
    from act3d.readers.up_axis import choose_up
    from act3d.use.points import in_training_frame

    meta = dict(predictor.meta)
    if reading.normalize != "auto":
        meta["normalization"] = reading.normalize
    asked = None if reading.up == "auto" else reading.up
    points, notes = in_training_frame(sample, Path(name), meta, asked, "turn it below")
    return points, choose_up(Path(name).suffix, sample.up, meta, asked).axis, notes

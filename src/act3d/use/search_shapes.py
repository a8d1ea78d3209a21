"""Searching an index by shapes that are read and embedded first, by words, or by both."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from act3d.errors import InputError
from act3d.files import printable
from act3d.lines import say
from act3d.use.aligned_predictor import AlignedPredictor, place_among_texts
from act3d.use.embed_shapes import facts_of
from act3d.use.embeddings import check_model, made_by
from act3d.use.index import Index
from act3d.use.load import load
from act3d.use.onnx_embedding import load_encoder
from act3d.use.search import SearchReport, picture_of, row_called
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import find_shapes
from act3d.use.text_vectors import read_text_vectors
from act3d.use.texts import without_names


@dataclass(frozen=True)
class Words:
    """What words ask for.

    Attributes:
        text: What shapes are to be like; "" = nothing.
        without: What they are not to be like.
        weight: Share of `text` beside a shape, 0 to 1.
        without_weight: How much of the mean of `without` is taken away.
        vectors: A file of text vectors (`act3d.use.text_vectors`), taken instead of the text Transformer; "" = none.
    """

    text: str = ""
    without: Sequence[str] = ()
    weight: float = 0.5
    without_weight: float = 0.5
    vectors: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.without)

    def query(self, index: Index, checkpoint: str, shape: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """A vector (D,) among texts, of the words and the unit vector (D,) of a shape, or None for no shape."""
        vectors = self._vectors(index, checkpoint)
        wanted = np.zeros_like(vectors[0])
        if self.text:
            wanted += (1 if shape is None else self.weight) * vectors[0]
        if shape is not None:
            wanted += (1 - self.weight if self.text else 1) * shape
        if self.without:
            wanted -= self.without_weight * vectors[bool(self.text) :].mean(axis=0)
        return wanted

    def _vectors(self, index: Index, checkpoint: str) -> NDArray[np.float32]:
        """One unit vector a phrase, `text` first."""
        phrases = [*([self.text] if self.text else []), *self.without]
        if self.vectors:  # no model is needed, the index has its shapes' side
            known = read_text_vectors(self.vectors)
            known.check_model(made_by(index.model)[0], index.place)
            return known.of(phrases)
        predictor = load(checkpoint or index.checkpoint(), "cpu", expect=AlignedPredictor)
        check_model(index.place, index.model, facts_of(predictor))
        vectors: NDArray[np.float32] = predictor.embed_text(phrases).numpy()
        return vectors

    @property
    def title(self) -> str:
        """The words as a line says them."""
        return " ".join(filter(None, [self.text, f"without {', '.join(self.without)}" if self.without else ""]))


def search_words(words: Words, index: Index, k: int = 10, where: str = "", checkpoint: str = "") -> SearchReport:
    """Find the shapes of an index that are nearest to words.

    Raises:
        InputError: The index's model learnt no names, nothing is asked for, or the filter is not understood.
        MissingDependency: The text Transformer is not installed.
    """
    check_texts(index)
    if not words.text:
        raise InputError("without: says only what shapes are not like; give --text or a shape as well")
    began = time.perf_counter()
    vector = words.query(index, checkpoint, None)
    embedded = time.perf_counter()
    hits = index.nearest(vector, k, where, "text_vector")
    spent = {"load and embed": embedded - began, "search": time.perf_counter() - embedded}
    return SearchReport({words.title: hits}, spent, {}, "words")


def search_like_named(
    name: str, words: Words, index: Index, k: int = 10, where: str = "", checkpoint: str = ""
) -> SearchReport:
    """Find the shapes of an index that are nearest to one of them and to words together."""
    check_texts(index)
    row = row_called(name, index)
    began = time.perf_counter()
    vector = words.query(index, checkpoint, index.vector(row.id, "text_vector"))
    embedded = time.perf_counter()
    hits = index.nearest(vector, k, where, "text_vector")
    spent = {"load and embed": embedded - began, "search": time.perf_counter() - embedded}
    title = f"{name} and {words.title}"
    return SearchReport({title: hits}, spent, picture_of(title, row.id, index), "words")


def search_index(
    shape: str,
    index: Index,
    k: int = 10,
    up: str = "auto",
    checkpoint: str = "",
    split: str = "",
    limit: int = 0,
    device: str = "auto",
    where: str = "",
    words: Words | None = None,
) -> SearchReport:
    """Find the shapes of an index that are nearest to a mesh or cloud.

    Args:
        shape: A mesh or cloud, a folder or pattern of them, or a prepared dataset.
        index: The index.
        k: How many shapes to find.
        up: Up axis of the query's file; "auto" = as the index's files were read.
        checkpoint: The model, if it is no longer where the index found it.
        split: Of a prepared dataset given as query.
        limit: At most this many queries; 0 = all.
        device: Where to compute.
        where: A filter; see `Index.rows`.
        words: What words ask for beside the shape.

    Raises:
        CheckpointError: Not the model that the index was made with.
        InputError: Not one query could be read; words ask an index whose model learnt no names.
    """
    words = words or Words()
    if words:
        check_texts(index)
    predictor = _model_of(index, checkpoint, device)
    reading = index.reading._replace(batch_size=1)
    if up != "auto":
        reading = reading._replace(up=up)
    elif reading.mark:
        say(f"act3d: queries are read as the index's files were:{reading.mark}", error=True)
    shapes = find_shapes(shape, predictor, split, reading=reading)
    report = SearchReport({}, {}, {}, "words" if words else "shape")
    spent = dict.fromkeys(("read", "embed", "search"), 0.0)
    began = time.perf_counter()
    for found, clouds, bad, _ in shapes.batches(range(len(shapes.items))[: limit or None], predictor, reading):
        for place, reason in bad:
            say(f"act3d: not readable: {printable(shapes.items[place].name)}: {reason}", error=True)
        read = time.perf_counter()
        if found:
            vector, column = _query(predictor, clouds, index, words, checkpoint)
            embedded = time.perf_counter()
            hits = index.nearest(vector, k, where, column)
            done = time.perf_counter()
            name = shapes.items[found[0]].name + (f" and {words.title}" if words else "")
            report.hits[name], report.clouds[name] = hits, clouds[0, :, :3].cpu().numpy()
            for step, seconds in zip(spent, (read - began, embedded - read, done - embedded), strict=True):
                spent[step] += seconds
        began = time.perf_counter()
    if not report.hits:
        raise InputError(f"{shape}: not one query could be read")
    report.seconds = {step: seconds / len(report.hits) for step, seconds in spent.items()}
    return report


def _query(
    predictor: EncoderPredictor[Any], clouds: Tensor, index: Index, words: Words, checkpoint: str
) -> tuple[NDArray[np.float32], str]:
    """The vector that a cloud (1, N, 3) and words ask for, and the column that it is compared with."""
    embedded = predictor.embed(clouds).float()
    if not words:
        return index.scaling(embedded.cpu().numpy())[0], "vector"
    shape = place_among_texts(predictor, clouds, embedded)[0].cpu().numpy()
    return words.query(index, checkpoint, shape), "text_vector"


def check_texts(index: Index) -> None:
    """Refuse words where they mean nothing.

    Raises:
        InputError: The index's model learnt no names.
    """
    if not index.has_texts:
        raise InputError(f"text: {index.place}: {without_names(index.model['kind'])}, or search in names by --named")


def _model_of(index: Index, checkpoint: str, device: str) -> EncoderPredictor[Any]:
    """The index's model, by the index's backend: vectors of two backends are not compared."""
    predictor = load_encoder(checkpoint or index.checkpoint(), device, made_by(index.model)[1])
    check_model(index.place, index.model, facts_of(predictor))
    return predictor

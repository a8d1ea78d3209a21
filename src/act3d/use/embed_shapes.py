"""Embeddings of many shapes: what is known already is kept, what an interrupted run has found is not lost."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from act3d.errors import InputError
from act3d.files import printable, sha256
from act3d.known_models import name_or_place
from act3d.progress import Progress
from act3d.use.embeddings import COLUMNS, Embeddings, made_by, read_embeddings
from act3d.use.reading import Reading
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import Batch, Item, Shapes

ROWS_A_PART = 256  # shapes after which what was found is written down
_KEPT = ("points", "normalization", "licence", "data")


class Embedded(NamedTuple):
    """A row for every shape that could be read, in the shapes' order; how many are new; (name, reason) of the rest."""

    table: Embeddings
    new: int
    failures: list[tuple[str, str]]


class Vectors(NamedTuple):
    """Embeddings of some shapes: the places of those that could be read, a vector each, (place, reason) of the rest."""

    places: list[int]
    vectors: list[NDArray[np.float32]]
    failures: list[tuple[int, str]]


Embedding = Callable[[list[int]], Iterable[Vectors]]
Found = TypeVar("Found", Vectors, Batch)


def facts_of(predictor: EncoderPredictor[Any]) -> dict[str, Any]:
    """Facts about the model for a table of embeddings: digest and place of its file, backend, kind, points ..."""
    assert predictor.path is not None
    facts = {"checkpoint": sha256(predictor.path), "backend": predictor.backend}
    facts |= {"path": name_or_place(predictor.path), "kind": predictor.kind}
    return facts | {name: value for name, value in predictor.meta.items() if name in _KEPT}


def embed_shapes(
    predictor: EncoderPredictor[Any],
    shapes: Shapes,
    reading: Reading,
    known: Sequence[Embeddings],
    parts: "Parts",
    facts: dict[str, Any],
    embedding: Embedding | None = None,
) -> Embedded:
    """Embed the shapes that are not known yet.

    Args:
        predictor: The encoder.
        shapes: What to embed.
        reading: How; a shape read in another way is another shape.
        known: Tables by the same model.
        parts: Where rows are kept until the whole table is written.
        facts: See `facts_of`.
        embedding: Gives the vectors of the shapes at some places; by default the predictor, in this process.

    Raises:
        InputError: Not one shape could be read.
    """
    kept = parts.read(facts)
    vectors: dict[tuple[str, str], NDArray[np.float32]] = {}
    for table in [*known, *kept]:
        vectors |= dict(zip(table.keys(), table.vectors, strict=True))
    items = shapes.items
    places = [place for place, item in enumerate(items) if item.key not in vectors]
    failures: list[tuple[str, str]] = []
    pending: list[Item] = []
    rows = embedding(places) if embedding else _embedded(predictor, shapes, places, reading)
    for batch in with_progress(shapes, places, rows):
        failures += [(items[place].name, reason) for place, reason in batch.failures]
        vectors |= {items[place].key: row for place, row in zip(batch.places, batch.vectors, strict=True)}
        pending += [items[place] for place in batch.places]
        if len(pending) >= ROWS_A_PART:
            parts.write(_table(pending, vectors, facts))
            pending = []
    done = [item for item in items if item.key in vectors]
    if not done:
        raise InputError(f"not one of {len(items)} shapes could be read; the first: {': '.join(failures[0])}")
    return Embedded(_table(done, vectors, facts), len(places) - len(failures), failures)


def _embedded(
    predictor: EncoderPredictor[Any], shapes: Shapes, places: list[int], reading: Reading
) -> Iterator[Vectors]:
    for found, clouds, bad, _ in shapes.batches(places, predictor, reading):
        yield Vectors(found, list(predictor.embed(clouds).float().cpu().numpy()) if found else [], bad)


def _table(items: list[Item], vectors: dict[tuple[str, str], Any], facts: dict[str, Any]) -> Embeddings:
    stacked = np.stack([vectors[item.key] for item in items]).astype(np.float32)
    return Embeddings(stacked, {name: [getattr(item, name) for item in items] for name in COLUMNS}, facts)


def with_progress(
    shapes: Shapes, places: list[int], batches: Iterable[Found], progress: Progress | None = None
) -> Iterator[Found]:
    """The batches of the shapes at some places, while a bar shows how far they are; failures are said at once."""
    with progress or Progress(text="embedding", unit="shapes") as shown:
        shown.total = len(places)
        for batch in batches:
            for place, reason in batch.failures:
                shown.say(f"act3d: not readable: {printable(shapes.items[place].name)}: {reason}")
            yield batch
            shown.advance(count=len(batch.places) + len(batch.failures))


class Parts:
    """Rows of an unfinished table, in files beside it.

    Args:
        out: The table, or the folder that it will be in.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f".{out.name}.parts")

    def write(self, table: Embeddings) -> None:
        """Keep some rows."""
        number = len(list(self.folder.glob("[0-9]*.npz")))
        table.write(self.folder / f"{number:06d}.npz")

    def read(self, facts: dict[str, Any]) -> list[Embeddings]:
        """Rows that an interrupted run has kept; those of another model or backend are removed."""
        tables = [read_embeddings(path) for path in sorted(self.folder.glob("[0-9]*.npz"))]
        if any(made_by(table.meta) != made_by(facts) for table in tables):
            self.remove()
            return []
        return tables

    def remove(self) -> None:
        """Forget the rows."""
        shutil.rmtree(self.folder, ignore_errors=True)

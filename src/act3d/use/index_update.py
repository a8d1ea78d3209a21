"""Making an index, and bringing it up to date."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from act3d.errors import InputError
from act3d.use.embed_shapes import Parts, embed_shapes, facts_of
from act3d.use.embeddings import Embeddings, check_made_by
from act3d.use.index import (
    PICTURE_POINTS,
    Index,
    Pictures,
    has_index,
    joined,
    load_faiss,
    open_index,
    small,
    write_index,
)
from act3d.use.points import read_with_notes
from act3d.use.reading import Reading
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import Item, Shapes


@dataclass(frozen=True)
class Updated:
    """The index; how many of its shapes are new, and how many are gone; (name, reason) of what could not be read."""

    index: Index
    new: int
    gone: int
    failures: list[tuple[str, str]]


def update_index(folder: Path, predictor: EncoderPredictor[Any], shapes: Shapes, reading: Reading) -> Updated:
    """Embed what is new or has changed, drop files that are gone, and write the index whole.

    Raises:
        ConfigError: The folder's index was made by another model or backend.
        InputError: Not one shape could be read.
        MissingDependency: faiss is not installed.
    """
    load_faiss()
    facts = facts_of(predictor)
    old = open_index(folder) if has_index(folder) else None
    if old is not None:
        check_made_by(folder, old.table.meta, facts)
    pictures: Pictures = dict(old.pictures) if old else {}

    def keep_picture(item: Item, points: Tensor) -> None:
        pictures[item.key] = small(points.numpy())

    parts = Parts(folder)
    known = [old.table] if old else []
    table, new, failures = embed_shapes(predictor, shapes, reading, known, parts, facts, keep_picture)
    table, gone = joined(old.table if old else None, table)
    index = write_index(folder, table, _complete(pictures, table, shapes, reading, predictor.meta))
    parts.remove()
    return Updated(index, new, gone, failures)


def _complete(
    pictures: Pictures, table: Embeddings, shapes: Shapes, reading: Reading, meta: Mapping[str, Any]
) -> Pictures:
    """A small cloud for every row; read again where an interrupted run has embedded the shape already."""
    places = {item.key: place for place, item in enumerate(shapes.items)}
    up = None if reading.up == "auto" else reading.up
    found: Pictures = {}
    for key, path in zip(table.keys(), table["path"], strict=True):
        try:
            if key in pictures:
                found[key] = pictures[key]
            elif shapes.dataset is not None and key in places:
                found[key] = small(shapes.dataset.fetch([places[key]], epoch=0)["points"][0].numpy())
            elif path:
                found[key] = small(read_with_notes(path, meta, PICTURE_POINTS, up)[0].numpy())
        except InputError:  # gone in the meantime: found without a picture
            continue
    return found

"""Making an index, and bringing it up to date: rows are written as they are found, and seen when all are there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from act3d.errors import ConfigError, InputError
from act3d.evaluation.retrieval import measure_scaling
from act3d.files import printable
from act3d.progress import Progress, phase
from act3d.use import index_table
from act3d.use.aligned_predictor import AlignedPredictor, place_among_texts
from act3d.use.embed_shapes import facts_of, with_progress
from act3d.use.embeddings import check_made_by, made_by
from act3d.use.index import Index, open_index
from act3d.use.index_quality import approximate_recall, make_searchable, quality
from act3d.use.index_table import CURRENT, FACTS, guarded, matrix, quoted, read_columns, upsert
from act3d.use.reading import Reading, turned, with_turn
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import Batch, Item, Shapes
from act3d.use.texts import text_of, texts_of, without_names

ROWS_A_WRITE = 256  # shapes after which what was found is written down
REMOVED_AT_ONCE = 1000
DRIFT = 0.1  # how much the number of shapes may have changed since the scaling was measured, before it is measured anew
NEAR = 1e-4  # numbers of a scaled vector, and probabilities, that differ by less are the same
KEPT = timedelta(hours=1)  # how long versions stay that somebody may be reading


@dataclass(frozen=True)
class Updated:
    """The index; how many of its shapes are new, and how many are gone; (name, reason) of what could not be read."""

    index: Index
    new: int
    gone: int
    failures: list[tuple[str, str]]


def update_index(
    place: str,
    predictor: EncoderPredictor[Any],
    shapes: Shapes,
    reading: Reading,
    labels: Sequence[str] = (),
    progress: Progress | None = None,
    keep_turns: bool = True,
) -> Updated:
    """Embed what is new or has changed, drop files that are gone, and make all that the index in one step.

    Args:
        place: Folder or URI of the index.
        predictor: The encoder.
        shapes: What is to be in the index, beside what is there already.
        reading: How shapes are read.
        labels: Words of which every shape gets the nearest, of a model that learnt names; () = those of the last time.
        progress: Shown, or stopped by what it raises; by default one on the error stream.
        keep_turns: Shapes that somebody has turned upright (`act3d app`) stay so; else only those of `shapes` that are.

    Raises:
        ConfigError: The index was made by another model or backend, or labels need a model that learnt names.
        InputError: Not one shape could be read.
        MissingDependency: LanceDB is not installed.
    """
    draft = Draft(place, predictor, labels)
    texts = _texts(shapes)
    known = draft.known()
    if keep_turns:
        for at, item in enumerate(shapes.items):
            shapes.items[at] = item._replace(stamp=with_turn(item.stamp, turned(known.get(_id(item), ""))))
    places = [at for at, item in enumerate(shapes.items) if known.get(_id(item)) != item.stamp]
    failures: list[tuple[str, str]] = []
    for batch in with_progress(shapes, places, shapes.batches(places, predictor, reading), progress):
        failures += [(shapes.items[at].name, reason) for at, reason in batch.failures]
        if batch.places:
            draft.add([shapes.items[at] for at in batch.places], [texts[at] for at in batch.places], batch)
    draft.write()
    if len(failures) == len(shapes.items):
        raise InputError(f"not one of {len(shapes.items)} shapes could be read; the first: {': '.join(failures[0])}")
    gone = draft.remove_missing({_id(item) for item in shapes.items})
    draft.finish()
    return Updated(open_index(place), len(places) - len(failures), gone, failures)


class Draft:
    """The next version of an index, which nobody sees before it is finished.

    Args:
        place: Folder or URI.
        predictor, labels: See `update_index`.

    Raises:
        ConfigError, MissingDependency: See `update_index`.
    """

    def __init__(self, place: str, predictor: EncoderPredictor[Any], labels: Sequence[str] = ()) -> None:
        self.place, self.predictor, model = place, predictor, facts_of(predictor)
        finished = index_table.open_table(place, CURRENT)
        table = index_table.open_table(place)
        facts = index_table.facts_in(table) if table is not None else {}
        if finished is not None:
            check_made_by(Path(place), facts["model"], model)
        elif facts and made_by(facts["model"]) != made_by(model):
            table = None  # a first one that was never finished, by another model
        self.width, self.text_width = _widths(predictor)
        said = index_table.facts_in(finished) if finished is not None else facts
        self.labels = list(labels) or list(said.get("labels", []))
        if self.labels and not self.text_width:
            raise ConfigError(f"labels: {without_names(predictor.kind)}")
        if table is None:
            facts = {}
        # What an update that was stopped has written is kept, but not trusted to be scaled and labelled alike: it is
        # compared with what it should be, and only rows that are otherwise are written again.
        self.whole = finished is not None and table is not None and finished.version == table.version
        self.relabel = not self.whole or self.labels != said.get("labels", [])
        self.table, self.facts = table, {**facts, "model": model}
        self.scaling = Index(place, table, facts).scaling if "scaling" in facts else None
        self.pending: dict[str, list[Any]] = {}

    def known(self) -> dict[str, str]:
        """The stamp of every shape that is there, by id."""
        if self.table is None:
            return {}
        with guarded(self.place):
            found = read_columns(self.table, ["id", "stamp"])
            return dict(zip(found["id"].to_pylist(), found["stamp"].to_pylist(), strict=True))

    def add(self, items: Sequence[Item], texts: Sequence[str], batch: Batch) -> None:
        """Take shapes with their words and points; they are written with others."""
        embedded = self.predictor.embed(batch.points).float()
        vectors = embedded.cpu().numpy()
        columns: dict[str, Any] = {
            "id": [_id(item) for item in items],
            **{name: [getattr(item, name) for item in items] for name in ("name", "split", "stamp")},
            "class": [item.label for item in items],
            "path": [index_table.storable(item.path) for item in items],
            "text": list(texts),
            **dict(zip(("width", "height", "depth"), _sides(batch.extents), strict=True)),
            "zero_shot": [""] * len(items),
            "zero_shot_probability": [None] * len(items),
            "cloud": [index_table.small(cloud[:, :3].cpu().numpy()) for cloud in batch.points],
            "embedding": list(vectors),
            "vector": list(self.scaling(vectors) if self.scaling else np.zeros_like(vectors)),
        }
        if self.text_width:
            columns["text_vector"] = list(place_among_texts(self.predictor, batch.points, embedded).cpu().numpy())
        for name, values in columns.items():
            self.pending.setdefault(name, []).extend(values)
        if len(self.pending["id"]) >= ROWS_A_WRITE:
            self.write()

    def write(self) -> None:
        """Write what was taken and not written yet."""
        if not self.pending:
            return
        if self.table is None:  # made with its first rows: where nothing can be read, no folder is left
            self.table = index_table.make_table(self.place, self.facts, self.width, self.text_width)
        stacked = {k: np.stack(v) if isinstance(v[0], np.ndarray) else v for k, v in self.pending.items()}
        with guarded(self.place):
            upsert(self.table, stacked)
        self.pending = {}

    def remove_missing(self, present: set[str]) -> int:
        """Remove shapes whose files are gone, and say how many."""
        with guarded(self.place):
            found = read_columns(self.table, ["id", "path"], "path != ''")
            paths = dict(zip(found["id"].to_pylist(), found["path"].to_pylist(), strict=True))
            gone = [i for i, path in paths.items() if i not in present and not _is_there(path)]
            for start in range(0, len(gone), REMOVED_AT_ONCE):
                self.table.delete(f"id in ({', '.join(map(quoted, gone[start : start + REMOVED_AT_ONCE]))})")
        return len(gone)

    def finish(self) -> None:
        """Scale, label and measure what is there, and make it the index; nothing if nothing has changed."""
        with guarded(self.place):
            if self.whole and not self.relabel and self.table.version == self._finished():
                return
            rows = read_columns(self.table, ["id", "embedding", "class", "split", "stamp", "path"])
            unit = self._scale(rows["id"].to_pylist(), matrix(rows["embedding"], self.width))
            self._label()
            vectors = ["vector", "text_vector"] if self.text_width else ["vector"]
            make_searchable(self.table, vectors)
            self.table.optimize(cleanup_older_than=KEPT)  # new rows are added to the indexes
            recall = approximate_recall(self.table, vectors)
            labels, splits = rows["class"].to_pylist(), rows["split"].to_pylist()
            with phase("measuring how good search is"):
                found = quality(unit, labels, splits)
            files = zip(rows["stamp"].to_pylist(), rows["path"].to_pylist(), strict=True)
            read = Reading.of(stamp for stamp, path in files if path)
            self.facts |= {"quality": found, "recall": recall, "labels": self.labels}
            self.facts |= {"reading": [read.up, read.normalize]}
            self.table.update_field_metadata({"path": "id", "metadata": {FACTS: json.dumps(self.facts)}})
            tags = self.table.tags
            (tags.update if CURRENT in tags.list() else tags.create)(CURRENT, self.table.version)

    def _finished(self) -> int:
        return int(self.table.tags.list()[CURRENT]["version"])

    def _scale(self, ids: list[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scaled vectors of all shapes; the scaling is measured anew if many have come or gone since it was."""
        last = self.facts["scaling"]["shapes"] if self.scaling else 0
        scaling = self.scaling
        if scaling is None or abs(len(ids) - last) > DRIFT * last:
            scaling = measure_scaling(vectors)
            about = {"mean": scaling.mean.tolist(), "deviation": scaling.deviation.tolist(), "shapes": len(ids)}
            self.facts["scaling"] = about
        unit = scaling(vectors)
        if not self.whole or scaling is not self.scaling:
            rows = read_columns(self.table, ["id", "vector"])
            place = {id: at for at, id in enumerate(rows["id"].to_pylist())}
            stored = matrix(rows["vector"], self.width)[[place[id] for id in ids]]
            other = np.flatnonzero(np.abs(stored - unit).max(axis=1) > NEAR)
            if len(other):
                upsert(self.table, {"id": [ids[at] for at in other], "vector": unit[other]}, insert=False)
        return unit

    def _label(self) -> None:
        """Give shapes the nearest of the words: all of them, or those that have none yet."""
        if not self.labels:
            return
        assert isinstance(self.predictor, AlignedPredictor)
        names = ["id", "zero_shot", "zero_shot_probability"]
        rows = read_columns(self.table, [*names, "text_vector"], "" if self.relabel else "zero_shot = ''")
        if not len(rows):
            return
        beside = torch.from_numpy(matrix(rows["text_vector"], self.text_width)).to(self.predictor.device)
        found = [row[0] for row in self.predictor.rank_vectors(beside, self.labels)]
        stored = zip(*(rows[name].to_pylist() for name in names), strict=True)
        other = [
            (id, str(word), share)
            for (id, old, was), (word, share) in zip(stored, found, strict=True)
            if old != word or was is None or abs(was - share) > NEAR
        ]
        if other:
            columns = dict(zip(names, map(list, zip(*other, strict=True)), strict=True))
            upsert(self.table, columns, insert=False)


def _widths(predictor: EncoderPredictor[Any]) -> tuple[int, int]:
    """How many numbers an embedding has, and a vector among texts (0 where the model learnt no names)."""
    alignment = getattr(predictor.model, "alignment", None)
    return 2 * int(predictor.model.width), 0 if alignment is None else int(alignment.text_width)


def _id(item: Item) -> str:
    return index_table.identity(item.name, item.path)


def _is_there(stored: str) -> bool:
    return Path(stored).is_file() or Path(index_table.path_of(stored)).is_file()


def _sides(extents: NDArray[np.float32]) -> list[list[float | None]]:
    """Extents (b, 3) as three columns; what is not known is None."""
    return [[None if np.isnan(v) else float(v) for v in column] for column in extents.T]


def _texts(shapes: Shapes) -> list[str]:
    """The words of every shape: of its class, names and caption, and its name as it stands."""
    if shapes.dataset is not None:
        return texts_of(shapes.dataset.columns(), use_class=True)
    return [text_of({"name": printable(item.name), "class": item.label}, use_class=True) for item in shapes.items]

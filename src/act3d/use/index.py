"""A collection that can be searched: a table in LanceDB, see `act3d.use.index_table`. Without torch.

index = open_index("index")                      # or "s3://bucket/index"
index.rows(where="class = 'qfn' and height < 3", limit=20)
index.nearest(index.vector(id), k=10)            # by shape
index.nearest(vector, column="text_vector")      # by words, of a model that learnt names
index.named("qfn exposed pad")                   # by words in names and captions
index.clouds([id])                               # small clouds for pictures
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act3d.errors import CheckpointError, InputError
from act3d.evaluation.retrieval import Scaling
from act3d.known_models import named_model
from act3d.use import index_table
from act3d.use.index_table import CURRENT, PROBES, REFINE, SHOWN, guarded, open_table, quoted, read_columns
from act3d.use.reading import Reading
from act3d.use.texts import without_names

VECTORS = ("vector", "text_vector")


@dataclass(frozen=True)
class Row:
    """A shape of an index.

    Attributes:
        id: Its id in the index.
        name: Its name: folders and file.
        label: Its class, "" = unknown.
        split: Of a dataset's shape, else "".
        path: Its file, "" = inside a dataset.
        text: The words in its names, class and caption.
        width, height, depth: Extents in the file's own units, height along the up axis; None where the size is unknown.
        zero_shot, zero_shot_probability: The nearest of the words that `index --labels` was given, and how sure.
    """

    id: str
    name: str
    label: str
    split: str
    path: str
    text: str
    width: float | None
    height: float | None
    depth: float | None
    zero_shot: str
    zero_shot_probability: float | None


@dataclass(frozen=True)
class Hit(Row):
    """A shape found: rank from 1; similarity, a cosine (of `named`: the score of BM25; None = of a filter alone)."""

    rank: int
    similarity: float | None


@dataclass(repr=False)
class Index:
    """An opened index; what is written later is seen by opening it again.

    Attributes:
        place: Its folder or URI.
        table: LanceDB's table, at the version that was finished last.
        facts: What the index says of itself: model, scaling, reading, quality, labels, recall.
    """

    place: str
    table: Any
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        with guarded(self.place):
            return int(self.table.count_rows())

    def __repr__(self) -> str:
        return f"<Index: {len(self)} shapes by {self.model.get('path')}; {self.place}>"

    @property
    def model(self) -> dict[str, Any]:
        """Facts about the model: digest and place of its file, backend, kind, points ..."""
        return dict(self.facts["model"])

    @property
    def scaling(self) -> Scaling:
        """What turns an embedding into what is compared in the column `vector`."""
        mean, deviation = (np.array(self.facts["scaling"][name], np.float32) for name in ("mean", "deviation"))
        return Scaling(mean, deviation)

    @property
    def reading(self) -> Reading:
        """How its files were read, if all were read alike: queries are to be read so too."""
        return Reading(*self.facts["reading"])

    @property
    def has_texts(self) -> bool:
        """Whether shapes are found by what words mean: only with a model that learnt names."""
        return "text_vector" in self.table.schema.names

    def checkpoint(self) -> str:
        """The file or name of the model that it was made with.

        Raises:
            CheckpointError: It is no longer there.
        """
        path = str(self.model["path"])
        if named_model(path) is None and not Path(path).is_file():
            raise CheckpointError(f"{path}: the index's model is no longer there; say where it is by --checkpoint")
        return path

    def rows(
        self, where: str = "", containing: str = "", limit: int | None = None, offset: int = 0, order: str = "name"
    ) -> list[Row]:
        """Shapes in the order of a column.

        Args:
            where: A filter in SQL over the columns, such as "class = 'qfn' and height < 3"; "" = all shapes.
            containing: Letters that name, text or path must hold, in either case.
            limit, offset: At most so many, after so many; None = all.
            order: A column.

        Raises:
            InputError: A filter that is not understood.
        """
        chosen = " and ".join(f"({part})" for part in (where, _containing(containing)) if part)

        def ask() -> Any:
            query = self.table.search().select(list(SHOWN)).order_by([{"column_name": order}])
            query = query.where(chosen) if chosen else query
            return query.limit(limit or max(1, self.table.count_rows())).offset(offset).to_list()

        return [Row(**_renamed(found)) for found in self._asked(ask, where)]

    def count(self, where: str = "", containing: str = "") -> int:
        """How many shapes `rows` would give."""
        chosen = " and ".join(f"({part})" for part in (where, _containing(containing)) if part)
        return int(self._asked(lambda: self.table.count_rows(chosen or None), where))

    def counts(self, column: str = "class") -> dict[str, int]:
        """How often each value of a column of texts occurs; "" = unknown."""
        return dict(sorted(Counter(self.column(column)).items()))

    def column(self, name: str) -> list[Any]:
        """A column of all shapes, in the table's order."""
        with guarded(self.place):
            found: list[Any] = read_columns(self.table, [name])[name].to_pylist()
        return found

    def row(self, id: str) -> Row:
        """One shape by its id.

        Raises:
            InputError: No shape has it.
        """
        found = self.rows(f"id = {quoted(id)}", limit=1)
        if not found:
            raise InputError(f"id: {self.place} has no shape {id!r}")
        return found[0]

    def vector(self, id: str, column: str = "vector") -> NDArray[np.float32]:
        """The stored unit vector (F,) of one shape."""
        found = self._stored([id], column)
        if id not in found:
            raise InputError(f"id: {self.place} has no shape {id!r}")
        return np.array(found[id], dtype=np.float32)

    def clouds(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Small clouds (512, 3) of shapes, for pictures."""
        return {id: index_table.cloud_of(stored) for id, stored in self._stored(ids, "cloud").items() if stored}

    def nearest(
        self, vector: ArrayLike, k: int = 10, where: str = "", column: str = "vector", exact: bool = False
    ) -> list[Hit]:
        """The shapes nearest to a vector, nearest first.

        Args:
            vector: (F,), scaled as `scaling` does it for "vector", among texts for "text_vector"; of any length.
            k: How many.
            where: See `rows`: only shapes that it lets through are looked at.
            column: "vector" (shapes) or "text_vector" (words).
            exact: Compare with every shape, also where there is an approximate index.

        Raises:
            InputError: The index has no such column, or does not understand the filter.
        """
        if column not in self.table.schema.names:
            raise InputError(f"{self.place}: {without_names(self.model['kind'])}")
        asked = np.asarray(vector, dtype=np.float32).reshape(-1)

        def ask() -> Any:
            query = self.table.search(asked, vector_column_name=column).distance_type("cosine")
            query = query.bypass_vector_index() if exact else query.nprobes(PROBES).refine_factor(REFINE)
            query = query.where(where) if where else query
            return query.select([*SHOWN, "_distance"]).limit(k).to_list()

        found = sorted(self._asked(ask, where), key=lambda row: (row["_distance"], row["name"]))
        return [Hit(**_renamed(row), rank=rank, similarity=1 - row["_distance"]) for rank, row in enumerate(found, 1)]

    def named(self, words: str, k: int = 10, where: str = "") -> list[Hit]:
        """The shapes whose names, class or caption hold words, by full-text search: the best match first."""

        def ask() -> Any:
            query = self.table.search(words, query_type="fts", fts_columns=["name", "text"])
            query = query.where(where) if where else query
            return query.select([*SHOWN, "_score"]).limit(k).to_list()

        found = self._asked(ask, where)
        return [Hit(**_renamed(row), rank=rank, similarity=row["_score"]) for rank, row in enumerate(found, 1)]

    def _stored(self, ids: Sequence[str], column: str) -> dict[str, Any]:
        if not ids:
            return {}
        with guarded(self.place):
            found = read_columns(self.table, ["id", column], f"id in ({', '.join(map(quoted, ids))})")
            return dict(zip(found["id"].to_pylist(), found[column].to_pylist(), strict=True))

    def _asked(self, ask: Callable[[], Any], where: str) -> Any:
        """What a query gives; if it fails and so does its filter alone, the filter is to blame."""
        with guarded(self.place):
            try:
                return ask()
            except Exception as error:
                if where:
                    try:
                        self.table.count_rows(where)
                    except Exception as wrong:
                        raise index_table.check_name(self.table, where, wrong) from error
                raise


def open_index(place: str | os.PathLike[str]) -> Index:
    """Open an index.

    Raises:
        CheckpointError: There is no finished index, or a damaged one, or one of an earlier version of act3d.
        MissingDependency: LanceDB is not installed.
    """
    table = open_table(place, CURRENT)
    if table is None:
        raise CheckpointError(f"{place}: holds no finished index; make one by act3d index INPUT --out {place}")
    with guarded(place):
        facts = index_table.facts_in(table)
        if "scaling" not in facts:
            raise CheckpointError(f"{place}: a table of LanceDB that act3d did not write, or a damaged one")
    return Index(os.fspath(place), table, facts)


def _renamed(found: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table as the fields of `Row`."""
    row = {name: found[name] for name in SHOWN if name != "class"}
    return row | {"label": found["class"], "path": index_table.path_of(found["path"])}


def _containing(letters: str) -> str:
    """The filter that lets shapes through whose name, text or path hold some letters."""
    if not letters:
        return ""
    wanted = quoted(letters.lower())
    return " or ".join(f"strpos(lower({name}), {wanted}) > 0" for name in ("name", "text", "path"))

"""One version of an index, as the page shows it: columns, small clouds, nearest shapes. The only file of the app that
knows how an index is kept."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from act3d.errors import InputError
from act3d.report.viewer import whole_numbers
from act3d.use.index import Index
from act3d.use.index_table import CLOUD_POINTS, cloud_of, matrix, path_of, read_columns

VOTERS = 10  # labelled shapes that name a class together
COLUMNS = ("id", "name", "class", "split", "path", "stamp", "text", "width", "height", "depth", "zero_shot")


class Nearest(NamedTuple):
    """Rows, nearest first, and the cosine similarity of each."""

    rows: list[int]
    similarity: list[float]


class Library:
    """The shapes of an index by their rows, in the order of their names; held in memory, 4 KB a shape.

    Args:
        index: The opened index.
        root: Folder that paths are shown relative to; None = as they are.
    """

    def __init__(self, index: Index, root: Path | None = None) -> None:
        self.index = index
        found = read_columns(index.table, COLUMNS).sort_by([("name", "ascending"), ("id", "ascending")])
        self.columns: dict[str, list[Any]] = {name: found[name].to_pylist() for name in COLUMNS}
        self.ids, self.names = self.columns["id"], self.columns["name"]
        self.paths = [path_of(stored) for stored in self.columns["path"]]
        self.places = [_relative(path, root) for path in self.paths]
        self.classes = sorted({label for label in self.columns["class"] if label})
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.labels = np.array([numbers.get(label, -1) for label in self.columns["class"]], dtype=np.int64)
        self._row_of = {id: row for row, id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def read(self) -> "Library":
        """Read vectors and clouds now: the versions of an index that were replaced are removed after an hour."""
        _ = self.vectors, self.clouds, self.index.has_texts and self.text_vectors
        return self

    def row(self, id: str) -> int:
        """Return the row of a shape.

        Raises:
            InputError: The index holds no such shape (any more).
        """
        if id not in self._row_of:
            raise InputError(f"id: there is no shape {id!r} in this index any more")
        return self._row_of[id]

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Scaled vectors (S, F) of length 1, whose products are compared."""
        return self._matrix("vector")

    @cached_property
    def text_vectors(self) -> NDArray[np.float32]:
        """Vectors (S, D) of length 1 among texts, of a model that learnt names."""
        return self._matrix("text_vector")

    @cached_property
    def clouds(self) -> NDArray[np.int8]:
        """Small clouds (S, 512, 3) as the viewer takes them; zeros where there is none."""
        made = np.zeros((len(self), CLOUD_POINTS, 3), np.int8)
        found = read_columns(self.index.table, ["id", "cloud"])
        for id, stored in zip(found["id"].to_pylist(), found["cloud"].to_pylist(), strict=True):
            if stored:
                made[self._row_of[id]] = whole_numbers(cloud_of(stored))
        return made

    def nearest(self, vector: NDArray[np.float32], k: int, without: int = -1) -> Nearest:
        """Return the k shapes nearest to a unit vector (F,), leaving out the row `without`."""
        return _largest(self.vectors @ vector, k, without)

    def meant(self, vector: NDArray[np.float32], k: int) -> Nearest:
        """Return the k shapes nearest to the unit vector (D,) of a text."""
        return _largest(self.text_vectors @ vector, k)

    def vote(self, vector: NDArray[np.float32], without: int = -1) -> list[tuple[str, float]]:
        """Return classes with their shares of the `VOTERS` labelled shapes nearest to a unit vector, largest first."""
        labelled = np.flatnonzero((self.labels >= 0) & (np.arange(len(self)) != without))
        similarity = self.vectors[labelled] @ vector
        voters = self.labels[labelled[np.argsort(-similarity, kind="stable")[:VOTERS]]]
        numbers, counts = np.unique(voters, return_counts=True)
        return [(self.classes[numbers[i]], float(counts[i] / len(voters))) for i in np.argsort(-counts, kind="stable")]

    def replace(self, row: int, cloud: NDArray[np.float32], vector: NDArray[np.float32]) -> None:
        """Show a shape by another cloud and vector (F,), until the index itself has them."""
        self.clouds[row] = whole_numbers(np.resize(cloud, (CLOUD_POINTS, 3)))
        self.vectors[row] = vector

    def _matrix(self, column: str) -> NDArray[np.float32]:
        found = read_columns(self.index.table, ["id", column])
        width = self.index.table.schema.field(column).type.list_size
        rows = [self._row_of[id] for id in found["id"].to_pylist()]
        made = np.empty((len(self), width), np.float32)
        made[rows] = matrix(found[column], width)
        return made


def _largest(similarity: NDArray[np.float32], k: int, without: int = -1) -> Nearest:
    if without >= 0:
        similarity[without] = -np.inf
    k = max(0, min(k, len(similarity) - (without >= 0)))
    rows: Sequence[int] = np.argsort(-similarity, kind="stable")[:k].tolist()
    return Nearest(list(rows), [float(similarity[row]) for row in rows])


def _relative(path: str, root: Path | None) -> str:
    return str(Path(path).relative_to(root)) if path and root and Path(path).is_relative_to(root) else path

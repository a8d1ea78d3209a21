"""Searching an index, and what was found. Without torch: a shape of the index is found by its name alone."""

import difflib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act3d.errors import InputError
from act3d.files import printable
from act3d.report.search import FoundShape, write_search_page
from act3d.tables import Cell, Table, Tabular
from act3d.use.index import Index


@dataclass
class Hit:
    """A shape found: rank from 1, name, class ("" = unknown), cosine similarity of the scaled embeddings, and file."""

    rank: int
    name: str
    label: str
    similarity: float
    path: str


@dataclass(repr=False)
class SearchReport(Tabular):
    """What was found.

    Attributes:
        hits: For every query by name, the nearest shapes, nearest first.
        seconds: What reading, embedding and searching took, a query.
        clouds: Points (N, 3) of every query.
    """

    hits: dict[str, list[Hit]]
    seconds: dict[str, float]
    clouds: dict[str, NDArray[np.float32]]

    def table(self) -> Table:
        """One row for every shape found."""
        rows: list[Sequence[Cell]] = [
            [query, hit.rank, hit.name, hit.label, hit.similarity, hit.path]
            for query, hits in self.hits.items()
            for hit in hits
        ]
        return Table(["query", "rank", "shape", "class", "similarity", "path"], rows, digits=3)

    def tables(self) -> list[Table]:
        """One table for every query, as the terminal shows it."""
        return [
            Table(
                ["", "shape", "class", "similarity"],
                [[hit.rank, hit.name, hit.label, hit.similarity] for hit in hits],
                f"nearest to {query}",
                digits=3,
            )
            for query, hits in self.hits.items()
        ]

    def __repr__(self) -> str:
        return f"<SearchReport: {len(self.hits)} queries, {sum(map(len, self.hits.values()))} shapes found>"


def search_by_name(name: str, index: Index, k: int = 10) -> SearchReport:
    """Find the shapes of an index that are nearest to one of them; its vector is there, so no model is needed.

    Raises:
        InputError: No shape, or more than one, has this name.
    """
    rows = [row for row, known in enumerate(index.table["name"]) if known == name]
    if len(rows) != 1:
        raise InputError(_which(name, index, rows))
    began = time.perf_counter()
    vector = index.scaling(index.table.vectors[rows])
    similarity, found = index.vectors().search(vector, min(k, len(index)))
    hits = hits_of(index, found[0].tolist(), similarity[0].tolist())
    picture = index.pictures.get(index.table.keys()[rows[0]])
    clouds = {} if picture is None else {name: picture.astype(np.float32)}
    return SearchReport({name: hits}, {"search": time.perf_counter() - began}, clouds)


def _which(name: str, index: Index, rows: list[int]) -> str:
    """Return why a name means no shape of an index."""
    if rows:
        paths = " and ".join(index.table["path"][row] or "a dataset" for row in rows[:3])
        return f"query: {len(rows)} shapes of {index.folder} are called {name!r}, from {paths}; name the file"
    like = difflib.get_close_matches(name, index.table["name"], n=1, cutoff=0.5) or index.table["name"][:1]
    hint = f" (it has {like[0]!r})" if like else ""
    return f"query: {name!r} is no file, folder or pattern, and no shape of {index.folder} is called so{hint}"


def hits_of(index: Index, rows: list[int], similarity: list[float]) -> list[Hit]:
    """Shapes by their rows, nearest first."""
    table = index.table
    return [
        Hit(rank, table["name"][row], table["label"][row], value, table["path"][row])
        for rank, (row, value) in enumerate(zip(rows, similarity, strict=True), start=1)
        if row >= 0
    ]


def write_page(report: SearchReport, index: Index, path: Path) -> Path:
    """Write a self-contained page that shows every query beside what was found."""
    keys = dict(zip(index.table["name"], index.table.keys(), strict=True))

    def found(hit: Hit) -> FoundShape:
        cloud = index.pictures.get(keys[hit.name])
        points = None if cloud is None else cloud.astype(np.float32)
        remark = " · ".join(filter(None, [f"{hit.similarity:.3f}", hit.label]))
        return FoundShape(hit.name, remark, points, printable(hit.path))

    answers = [
        (FoundShape(name, "", report.clouds.get(name)), [found(hit) for hit in hits])
        for name, hits in report.hits.items()
    ]
    return write_search_page(path, str(index.folder), len(index), answers)

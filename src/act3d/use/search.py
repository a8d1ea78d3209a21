"""Searching an index without torch, and what was found: by a shape of the index, by words in names, by a filter."""

import difflib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from act3d.errors import InputError
from act3d.files import printable
from act3d.report.search import FoundShape, write_search_page
from act3d.tables import Cell, Table, Tabular
from act3d.use.index import Hit, Index, Row
from act3d.use.index_table import quoted

# What was searched by, and what the number beside a shape found means.
By = Literal["shape", "words", "names", "filter"]
MEASURES: dict[By, str] = {
    "shape": "the cosine of scaled embeddings: 1 means the same",
    "words": "the cosine of shape and words",
    "names": "the score of the words in names and captions (BM25)",
    "filter": "",
}


@dataclass(repr=False)
class SearchReport(Tabular):
    """What was found.

    Attributes:
        hits: For every query by name, the nearest shapes, nearest first.
        seconds: What reading, embedding and searching took, a query.
        clouds: Points (N, 3) of every query that is a shape.
        by: What was searched by.
    """

    hits: dict[str, list[Hit]]
    seconds: dict[str, float]
    clouds: dict[str, NDArray[np.float32]]
    by: By = "shape"
    title: str = field(default="nearest to", init=False)

    def __post_init__(self) -> None:
        self.title = {"names": "names with", "filter": "where"}.get(self.by, "nearest to")

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
        return [self._of(query, hits) for query, hits in self.hits.items()]

    def _of(self, query: str, hits: Sequence[Hit]) -> Table:
        measure = {"names": ["score"], "filter": []}.get(self.by, ["similarity"])
        labelled = ["zero-shot"] if any(hit.zero_shot for hit in hits) else []
        rows: list[Sequence[Cell]] = [
            [hit.rank, hit.name, hit.label, *[hit.zero_shot for _ in labelled], *[hit.similarity for _ in measure]]
            for hit in hits
        ]
        return Table(["", "shape", "class", *labelled, *measure], rows, f"{self.title} {query}", digits=3)

    def __repr__(self) -> str:
        return f"<SearchReport: {len(self.hits)} queries, {sum(map(len, self.hits.values()))} shapes found>"


def search_by_name(name: str, index: Index, k: int = 10, where: str = "") -> SearchReport:
    """Find the shapes of an index that are nearest to one of them; its vector is there, so no model is needed.

    Raises:
        InputError: No shape, or more than one, has this name; or the filter is not understood.
    """
    row = row_called(name, index)
    began = time.perf_counter()
    hits = index.nearest(index.vector(row.id), k, where)
    spent = {"search": time.perf_counter() - began}
    return SearchReport({name: hits}, spent, picture_of(name, row.id, index))


def search_names(words: str, index: Index, k: int = 10, where: str = "") -> SearchReport:
    """Find the shapes whose names, class or caption hold words."""
    began = time.perf_counter()
    hits = index.named(words, k, where)
    return SearchReport({words: hits}, {"search": time.perf_counter() - began}, {}, "names")


def search_filtered(where: str, index: Index, k: int = 10) -> SearchReport:
    """List the first shapes that a filter lets through, by name."""
    began = time.perf_counter()
    rows = index.rows(where, limit=k)
    hits = [Hit(**asdict(row), rank=rank, similarity=None) for rank, row in enumerate(rows, start=1)]
    return SearchReport({where: hits}, {"search": time.perf_counter() - began}, {}, "filter")


def picture_of(title: str, id: str, index: Index) -> dict[str, NDArray[np.float32]]:
    """The small cloud of an indexed shape under the title of its query."""
    return {title: cloud for cloud in index.clouds([id]).values()}  # noqa: B035 - one cloud or none


def row_called(name: str, index: Index) -> Row:
    """The shape of an index with a name or an id.

    Raises:
        InputError: No shape, or more than one, has it.
    """
    rows = index.rows(f"name = {quoted(name)} or id = {quoted(name)}")
    if len(rows) == 1:
        return rows[0]
    if rows:
        paths = " and ".join(row.path or "a dataset" for row in rows[:3])
        raise InputError(f"shape: {len(rows)} shapes of {index.place} are called {name!r}, from {paths}; name the file")
    names = index.column("name")
    like = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or names[:1]
    hint = f" (it has {like[0]!r})" if like else ""
    raise InputError(
        f"shape: {name!r} is no file, folder or pattern, and no shape of {index.place} is called so{hint}; words to "
        "search by go to --text"
    )


def write_page(report: SearchReport, index: Index, path: Path) -> Path:
    """Write a self-contained page that shows every query beside what was found."""
    clouds = index.clouds([hit.id for hits in report.hits.values() for hit in hits])

    def found(hit: Hit) -> FoundShape:
        similarity = "" if hit.similarity is None else f"{hit.similarity:.3f}"
        remark = " · ".join(filter(None, [similarity, hit.label, hit.zero_shot]))
        return FoundShape(hit.name, remark, clouds.get(hit.id), printable(hit.path))

    answers = [
        (FoundShape(name, "", report.clouds.get(name)), [found(hit) for hit in hits])
        for name, hits in report.hits.items()
    ]
    return write_search_page(path, index.place, len(index), answers, report.title, MEASURES[report.by])

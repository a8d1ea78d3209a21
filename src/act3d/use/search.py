"""Searching an index by shape."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.errors import CheckpointError, InputError
from act3d.files import printable
from act3d.lines import say
from act3d.report.search import FoundShape, write_search_page
from act3d.tables import Cell, Table, Tabular
from act3d.use.embed_shapes import facts_of
from act3d.use.index import Index
from act3d.use.load import load
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import find_shapes


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


def search_index(
    query: str,
    index: Index,
    k: int = 10,
    up: str = "auto",
    checkpoint: str = "",
    split: str = "",
    limit: int = 0,
    device: str = "auto",
) -> SearchReport:
    """Find the shapes of an index that are nearest to a mesh or cloud.

    Args:
        query: A mesh or cloud, a folder or pattern of them, or a prepared dataset.
        index: The index.
        k: How many shapes to find.
        up: Up axis of the query's file; "auto" = as the index's files were read.
        checkpoint: The model, if it is no longer where the index found it.
        split: Of a prepared dataset given as query.
        limit: At most this many queries; 0 = all.
        device: Where to compute.

    Raises:
        CheckpointError: Not the model that the index was made with.
        InputError: Not one query could be read.
    """
    vectors, scaling = index.vectors(), index.scaling
    predictor = _model_of(index, checkpoint, device)
    reading = index.reading._replace(batch_size=1)
    if up != "auto":
        reading = reading._replace(up=up)
    elif reading.mark:
        say(f"act3d: queries are read as the index's files were:{reading.mark}", error=True)
    shapes = find_shapes(query, predictor, split, reading=reading)
    report = SearchReport({}, {}, {})
    spent = dict.fromkeys(("read", "embed", "search"), 0.0)
    began = time.perf_counter()
    for found, clouds, bad in shapes.batches(range(len(shapes.items))[: limit or None], predictor, reading):
        for place, reason in bad:
            say(f"act3d: not readable: {printable(shapes.items[place].name)}: {reason}", error=True)
        read = time.perf_counter()
        if found:
            vector = predictor.embed(clouds).float().cpu().numpy()
            embedded = time.perf_counter()
            similarity, rows = vectors.search(scaling(vector), min(k, len(index)))
            done = time.perf_counter()
            name = shapes.items[found[0]].name
            report.hits[name] = _hits(index, rows[0].tolist(), similarity[0].tolist())
            report.clouds[name] = clouds[0].cpu().numpy()
            for step, seconds in zip(spent, (read - began, embedded - read, done - embedded), strict=True):
                spent[step] += seconds
        began = time.perf_counter()
    if not report.hits:
        raise InputError(f"{query}: not one query could be read")
    report.seconds = {step: seconds / len(report.hits) for step, seconds in spent.items()}
    return report


def _model_of(index: Index, checkpoint: str, device: str) -> EncoderPredictor[Any]:
    predictor = load(checkpoint or index.checkpoint(), device, expect=EncoderPredictor)
    if facts_of(predictor)["checkpoint"] != index.table.meta["checkpoint"]:
        raise CheckpointError(f"{predictor.path}: not the model that {index.folder} was made with")
    return predictor


def _hits(index: Index, rows: list[int], similarity: list[float]) -> list[Hit]:
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
        return FoundShape(
            hit.name, f"{hit.label} {hit.similarity:.3f}", None if cloud is None else cloud.astype(np.float32)
        )

    answers = [
        (FoundShape(name, "query", report.clouds[name]), [found(hit) for hit in hits])
        for name, hits in report.hits.items()
    ]
    return write_search_page(path, str(index.folder), len(index), answers)

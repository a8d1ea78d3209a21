"""`act3d search`: the shapes of a collection that are nearest to a given one."""

import json as json_format
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.commands.embed import load_embedder
from act3d.commands.index import VECTORS, Index, open_index, picture_key
from act3d.errors import CheckpointError
from act3d.files import write_json
from act3d.settings.command import command
from act3d.settings.using import SearchSettings
from act3d.use.shapes import find_shapes

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Hit:
    """A shape found: rank from 1, name, class ("" = unknown), cosine similarity of the scaled embeddings, and file."""

    rank: int
    name: str
    label: str
    similarity: float
    path: str


@dataclass
class SearchReport:
    """What `search` found for every query, and the seconds that each step took, per query."""

    hits: dict[str, list[Hit]]
    seconds: dict[str, float]
    clouds: "dict[str, np.ndarray]" = field(repr=False)


@command
def search(settings: SearchSettings) -> SearchReport:
    """Find the shapes of an indexed collection that are nearest to a mesh or cloud.

    Returns:
        The nearest shapes of every query, nearest first.
    """
    json, page, up = settings.json_file, settings.page, None if settings.up == "auto" else settings.up
    opened = open_index(settings.index)
    report = find(
        settings.query, opened, settings.k, up, settings.checkpoint, settings.split, settings.limit, settings.device
    )
    answer = {name: [vars(hit) for hit in hits] for name, hits in report.hits.items()}
    whole = {"index": str(opened.folder), "seconds_per_query": report.seconds, "answers": answer}
    if json and json != "-":
        write_json(json, whole)
    if page:
        write_page_of(report, opened, Path(page))
    if json == "-":
        print(json_format.dumps(whole, indent=2, ensure_ascii=False))
    else:
        _print(report, opened)
    return report


def find(
    query: str, opened: Index, k: int, up: str | None, checkpoint: str, split: str, limit: int, device: str
) -> SearchReport:
    """Search an opened index; see `search`."""
    from act3d.evaluation.retrieval import load_faiss, measure_scaling

    faiss = load_faiss()
    predictor, meta = load_embedder(checkpoint or _checkpoint_of(opened), device)
    if meta["checkpoint"] != opened.table.meta["checkpoint"]:
        raise CheckpointError(f"{meta['path']}: not the model that {opened.folder} was made with")
    try:
        stored = faiss.read_index(str(opened.folder / VECTORS))
    except RuntimeError as error:
        raise CheckpointError(f"{opened.folder / VECTORS}: cannot be read; run act3d index again") from error
    scaling = measure_scaling(opened.table.vectors)
    shapes = find_shapes(query, predictor.meta, split)
    places = list(range(len(shapes.items)))[: limit or None]
    hits: dict[str, list[Hit]] = {}
    clouds: dict[str, Any] = {}
    spent = dict.fromkeys(("read", "embed", "search"), 0.0)
    began = time.perf_counter()
    for good, points, bad in shapes.batches(places, predictor, 1, 0, up):
        for place, reason in bad:
            print(f"act3d: not readable: {shapes.items[place].name}: {reason}", file=sys.stderr)
        read = time.perf_counter()
        if good:
            vector = predictor.embed(points).float().cpu().numpy()
            embedded = time.perf_counter()
            similarity, rows = stored.search(scaling(vector), min(k, len(opened.table)))
            done = time.perf_counter()
            name = shapes.items[good[0]].name
            hits[name] = _hits(opened, rows[0].tolist(), similarity[0].tolist())
            clouds[name] = points[0].cpu().numpy()
            for step, seconds in zip(spent, (read - began, embedded - read, done - embedded), strict=True):
                spent[step] += seconds
        began = time.perf_counter()
    if not hits:
        raise CheckpointError(f"{query}: not one query could be read")
    return SearchReport(hits, {step: seconds / len(hits) for step, seconds in spent.items()}, clouds)


def _checkpoint_of(opened: Index) -> str:
    path = str(opened.table.meta["path"])
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: the index's model is no longer there; say where it is by --checkpoint")
    return path


def _hits(opened: Index, rows: list[int], similarity: list[float]) -> list[Hit]:
    table = opened.table
    return [
        Hit(rank, table["name"][row], table["label"][row], value, table["path"][row])
        for rank, (row, value) in enumerate(zip(rows, similarity, strict=True), start=1)
        if row >= 0
    ]


def _print(report: SearchReport, opened: Index) -> None:
    from rich.console import Console
    from rich.table import Table

    for name, hits in report.hits.items():
        table = Table("", "shape", "class", "similarity", title=f"nearest to {name}", title_justify="left", box=None)
        table.columns[0].justify = table.columns[3].justify = "right"
        for hit in hits:
            table.add_row(str(hit.rank), hit.name, hit.label, f"{hit.similarity:.3f}")
        Console().print(table)
    steps = ", ".join(f"{step} {1000 * seconds:.1f}" for step, seconds in report.seconds.items())
    print(f"ms per query ({len(opened.table)} shapes in the index): {steps}")


def write_page_of(report: SearchReport, opened: Index, path: Path) -> Path:
    """Write a self-contained page that shows every query beside what was found."""
    from act3d.report.search import FoundShape, write_search_page

    keys = {row: picture_key(*key) for row, key in enumerate(opened.table.keys())}
    places = {opened.table["name"][row]: key for row, key in keys.items()}

    def found(hit: Hit) -> FoundShape:
        cloud = opened.clouds.get(places[hit.name])
        points = None if cloud is None else cloud.astype("float32")
        return FoundShape(hit.name, f"{hit.label} {hit.similarity:.3f}", points)

    answers = [
        (FoundShape(name, "query", report.clouds[name]), [found(hit) for hit in hits])
        for name, hits in report.hits.items()
    ]
    return write_search_page(path, str(opened.folder), len(opened.table), answers)

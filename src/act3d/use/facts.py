"""What files say of themselves: the header of a checkpoint, the facts of an index. Without torch."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from act3d.known_models import local_weights
from act3d.native_header import read_header, read_shapes
from act3d.tables import Cell, Table, Tabular
from act3d.use.index import open_index
from act3d.use.index_table import path_of


@dataclass(repr=False)
class HeaderReport(Tabular):
    """What the header of a native checkpoint says, and how many numbers the file holds in each part of the model."""

    file: str
    act3d: str
    kind: str
    config: dict[str, Any]
    meta: dict[str, Any]
    numbers: dict[str, int]

    def table(self) -> Table:
        """One row a fact."""
        rows: list[Sequence[Cell]] = [
            ["kind", f"{self.kind} (native, written by act3d {self.act3d})"],
            ["numbers", f"{sum(self.numbers.values()):,} in the file"],
            *([f"numbers.{name}", f"{count:,}"] for name, count in self.numbers.items()),
            *([name, short(value)] for name, value in self.config.items()),
            *([f"meta.{name}", short(value)] for name, value in self.meta.items() if value not in (None, "", [], {})),
        ]
        return Table(["fact", "value"], rows, f"{self.file} ({Path(self.file).stat().st_size / 1e6:.1f} MB)")

    def __repr__(self) -> str:
        return f"<HeaderReport: {self.kind}, {sum(self.numbers.values()):,} numbers; {self.file}>"


def header_report(checkpoint: str) -> HeaderReport:
    """Read the header of a native checkpoint, or of a run's.

    Raises:
        CheckpointError: No native checkpoint: released files say nothing of themselves.
    """
    path = local_weights(checkpoint)
    header, numbers = read_header(path), Counter[str]()
    for name, shape in read_shapes(path).items():
        numbers[name.partition(".")[0]] += math.prod(shape)
    config, meta = (dict(header.get(name) or {}) for name in ("config", "meta"))
    meta.pop("settings", None)
    return HeaderReport(str(path), str(header.get("act3d")), str(header.get("kind")), config, meta, dict(numbers))


@dataclass(repr=False)
class IndexFacts(Tabular):
    """What an index holds: shapes, how many of each class ("" = unknown), its model, and the quality of search.

    words: whether shapes are found by what words mean; labels: the words of `index --labels`; recall: of approximate
    search, by column.
    """

    file: str
    kind: str
    shapes: int
    width: int
    classes: dict[str, int]
    model: dict[str, Any]
    quality: dict[str, dict[str, Any]]
    gone: int
    words: bool = False
    labels: list[str] = field(default_factory=list)
    recall: dict[str, float] = field(default_factory=dict)

    def table(self) -> Table:
        """One row a fact."""
        known = {name: count for name, count in self.classes.items() if name}
        rows: list[Sequence[Cell]] = [
            ["kind", "index"],
            ["shapes", f"{self.shapes}, {self.width} numbers each"],
            ["files gone", str(self.gone) if self.gone else "none"],
            ["classes", f"{len(known)}: {short(known)}" if known else "none"],
            ["unlabelled", str(self.classes.get("", 0))],
            ["search by words", "yes" if self.words else "no: the model learnt no names"],
            *([["words of --labels", short(self.labels)]] if self.labels else []),
            *([f"recall@10 of {name}", f"{value:.1f} % (approximate)"] for name, value in self.recall.items()),
            *([f"model.{name}", short(value)] for name, value in self.model.items()),
            *([name, f"mAP {found['map']:.1f} %, {found['queries']} queries"] for name, found in self.quality.items()),
        ]
        return Table(["fact", "value"], rows, self.file)

    def __repr__(self) -> str:
        return f"<IndexFacts: {self.shapes} shapes; {self.file}>"


def index_facts(folder: str) -> IndexFacts:
    """Open an index and say what it holds.

    Raises:
        CheckpointError: A damaged index.
    """
    index = open_index(folder)
    return IndexFacts(
        str(folder),
        "index",
        len(index),
        len(index.facts["scaling"]["mean"]),
        index.counts("class"),
        index.model,
        index.facts["quality"],
        sum(not Path(path_of(path)).is_file() for path in index.column("path") if path),
        index.has_texts,
        list(index.facts["labels"]),
        dict(index.facts["recall"]),
    )


def short(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, list) and len(value) > 6:
        return f"{len(value)}: {', '.join(map(str, value[:5]))} ..."
    if isinstance(value, dict):
        return ", ".join(f"{name}={short(part)}" for name, part in value.items())
    return str(value)

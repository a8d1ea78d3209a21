"""What a dataset was made of, file by file, so that a later run reads only what is new or has changed."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from act3d.data.description import DESCRIPTION, TABLE, check_file, kinds_of, read_description, read_table
from act3d.data.packing import CENTERS, Cloud
from act3d.errors import InputError
from act3d.files import printable, write_text
from act3d.prepare.items import Item

SOURCES = "sources.csv"
MEASURED = ("vertices", "faces", "area")  # columns that come from the file itself, before those of the collection


def marks_of(items: Sequence[Item], settings: Mapping[str, Any]) -> list[str]:
    """What decides each item's cloud, as short digests: settings, name, and the file's size and time of change."""
    decided = json.dumps(settings, sort_keys=True)
    return [hashlib.sha256((decided + json.dumps(item.decides())).encode()).hexdigest()[:24] for item in items]


def write_sources(folder: Path, items: Sequence[Item], marks: Sequence[str]) -> None:
    """Write the marks of a dataset's items beside its clouds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("name", "mark"), *((printable(i.name), mark) for i, mark in zip(items, marks, strict=True))])
    write_text(folder / SOURCES, text.getvalue())


class Earlier:
    """The clouds of a finished dataset, by their marks.

    Args:
        out: Its folder; one that holds no dataset has no clouds.

    Raises:
        InputError: It was prepared by a version that kept no marks, or was changed since.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.places = out, dict[str, int]()
        if not (out / DESCRIPTION).is_file():
            return
        self.info = read_description(out)
        if not (out / SOURCES).is_file():
            raise InputError(f"{out} has no {SOURCES} (an earlier act3d made it); --overwrite true reads all anew")
        if "offset" in self.info:  # its centres have lost what makes a cloud the same again
            return
        self.table = read_table(out / TABLE, self.info["checksums"][TABLE])
        sources = read_table(out / SOURCES)
        rows = {name: row for row, name in enumerate(self.table["name"])}
        named = zip(sources["mark"], sources["name"], strict=True)
        self.places = {mark: rows[name] for mark, name in named if name in rows}
        self.starts = np.cumsum([0, *(shard["count"] for shard in self.info["shards"])])
        self._shard = lru_cache(maxsize=2)(self._open)

    def _open(self, number: int) -> dict[str, np.ndarray]:
        arrays = {}
        for kind in kinds_of(self.info):
            path = self.out / self.info["shards"][number][kind]
            check_file(path, self.info["checksums"].get(path.name))
            arrays[kind] = np.load(path, mmap_mode="r")
        return arrays

    def __contains__(self, mark: str) -> bool:
        return mark in self.places

    def cloud(self, mark: str, item: Item) -> Cloud:
        """Return the cloud of a mark, with the class, split and further columns that its item has now."""
        row = self.places[mark]
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        arrays = {kind: np.array(array[row - self.starts[number]]) for kind, array in self._shard(number).items()}
        told = {key: self.table[key][row] for key in MEASURED} | item.extra
        if "missing" in self.table and self.table["missing"][row]:
            told["missing"] = self.table["missing"][row]
        if "channels" in arrays:
            told["channels"] = self.table["channels"][row]
        center = np.array([float(self.table[key][row]) for key in CENTERS])
        return Cloud(
            item.name, arrays["points"], center, float(self.table["scale"][row]), arrays.get("parts"), item.cls,
            item.split, told, "", arrays.get("channels"),
        )  # fmt: skip

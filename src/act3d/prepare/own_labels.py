"""A user's own words on shapes: captions from a table, part labels, pieces of an assembly as shapes of their own."""

import csv
import io
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from act3d.errors import ConfigError, InputError, MissingDependency
from act3d.files import printable
from act3d.installing import how_to_install
from act3d.prepare.items import Item
from act3d.readers.by_suffix import read_shape
from act3d.readers.engine import Engine
from act3d.readers.guarded import Lost, limits_for, read_one
from act3d.readers.limits import read_regular
from act3d.readers.shape import Samples, Shape
from act3d.readers.text import decode

KEYS, CAPTIONS = ("file", "name", "path", "uid", "id", "modelId"), ("caption", "text", "description", "title")
REST = "other"  # the part of faces that nothing is said of
MOST_PARTS = 256  # that a byte tells apart
Row = dict[str, Any]


class PartNames(NamedTuple):
    """Where part labels come from.

    Attributes:
        kind: "groups" (OBJ groups, glTF nodes, CAD solids), "materials", or "points" (numbers of vertices or points).
        table: (file, group, part) of a user's own table; file "" holds for all. Empty = the names themselves.
    """

    kind: str
    table: tuple[tuple[str, str, str], ...] = ()

    def part(self, item: str, group: str) -> str:
        """The part that a group of an item is."""
        if not self.table:
            return group or REST
        known = _lookup(self.table)
        return next((known[key, group] for key in (*_keys_of(item), "") if (key, group) in known), REST) or REST


@lru_cache(maxsize=4)
def _lookup(table: tuple[tuple[str, str, str], ...]) -> dict[tuple[str, str], str]:
    return {(file, group): part for file, group, part in table}


def read_rows(path: Path) -> list[Row]:
    """The rows of a table: CSV with a header, JSON (a list of objects, or name -> text), or parquet.

    Raises:
        InputError: another suffix, or damaged. MissingDependency: parquet needs pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        try:
            import pyarrow.parquet
        except ImportError:
            raise MissingDependency(f"parquet needs pyarrow: {how_to_install('parquet')}") from None
        rows: list[Row] = pyarrow.parquet.read_table(io.BytesIO(read_regular(path))).to_pylist()
        return rows
    if suffix not in (".csv", ".json"):
        raise InputError(f"suffix {path.suffix!r} is not known; allowed: .csv, .json, .parquet")
    text = decode(read_regular(path))
    if suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    content = json.loads(text)
    if isinstance(content, dict):
        content = [{"name": name, "caption": caption} for name, caption in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError("is neither a list of objects nor an object of name: text")
    return content


def _table(path: str, option: str, columns: Sequence[Sequence[str]]) -> list[Row]:
    """The rows of a table, read in a process of its own, and only with columns of which each is there."""
    file = Path(path)
    rows = read_one(read_rows, file, limits_for(file))
    if isinstance(rows, Lost):
        raise InputError(f"{option}: {printable(path)}: {rows.reason}")
    has = set(rows[0]) if rows else set()
    for names in columns:
        if not has & set(names):
            raise InputError(f"{option}: {printable(path)} has no column {' or '.join(names)}; it has {sorted(has)}")
    return rows


def _first(row: Row, names: Sequence[str]) -> str:
    value = next((row[name] for name in names if row.get(name)), "")
    if isinstance(value, list):
        value = value[0] if value else ""
    return " ".join(str(value).split())


def _keys_of(name: str) -> list[str]:
    """What a table may call an item: by its path with and without suffix, or by its file's name."""
    path = PurePath(name)
    return [name, path.with_suffix("").as_posix(), path.name, path.stem]


def add_captions(items: Sequence[Item], path: str) -> tuple[list[Item], str]:
    """Give items the captions of a table, as the column `caption`; and a line on how many have one.

    Raises:
        InputError: the table cannot be read, or names none of the items.
    """
    rows = _table(path, "captions", (KEYS, CAPTIONS))
    known = {_first(row, KEYS): _first(row, CAPTIONS) for row in rows}
    found = [next((known[key] for key in _keys_of(item.name) if key in known), "") for item in items]
    if not any(found):
        raise InputError(
            f"captions: {printable(path)} names none of the {len(items)} shapes, such as {printable(items[0].name)}"
        )
    own = [text or item.extra.get("caption", "") for item, text in zip(items, found, strict=True)]
    with_it = [replace(item, extra={**item.extra, "caption": text}) for item, text in zip(items, own, strict=True)]
    return with_it, f"{sum(map(bool, found))} of {len(items)} shapes have a caption in {printable(path)}"


def part_names(choice: str) -> PartNames:
    """Where part labels come from: "groups", "materials", "points", or a table with columns group and part (and file).

    Raises:
        ConfigError, InputError: none of these, or a table that cannot be read.
    """
    if choice in ("groups", "materials", "points"):
        return PartNames(choice)
    if not Path(choice).is_file():
        raise ConfigError(f"parts: {choice!r} is no file; allowed: groups, materials, points, or a table of your own")
    rows = _table(choice, "parts", (("group",), ("part",)))
    return PartNames(
        "groups", tuple((_first(row, KEYS), _first(row, ["group"]), _first(row, ["part"])) for row in rows)
    )


def names_in(item: Item, kind: str) -> list[str]:
    """The names of a file's groups or materials, or the numbers of its points' parts; runs in a guarded process."""
    return [name for name, _ in _pieces(read_shape(item.path), kind)]


def _pieces(shape: Shape, kind: str) -> list[tuple[str, int]]:
    """Names, and the number that faces or points have."""
    if kind == "points":
        return [] if shape.point_parts is None else [(str(n), int(n)) for n in np.unique(shape.point_parts)]
    of_faces, names = (shape.groups, shape.group_names) if kind == "groups" else (shape.materials, shape.material_names)
    return [] if of_faces is None else [(names[place], int(place)) for place in np.unique(of_faces)]


def list_names(items: Sequence[Item], kind: str, engine: Engine) -> list[list[str]]:
    """The names of every item's groups, materials or points, read in guarded processes; none where it is unreadable."""
    read = partial(names_in, kind=kind)
    with closing(engine.read(read, items, lambda item: limits_for(item.path, engine.beside))) as results:
        return [[] if isinstance(found, Lost) else found for found in results]


def vocabulary_of(items: Sequence[Item], parts: PartNames, engine: Engine) -> list[str]:
    """The names of all parts that occur, sorted; numbers of points by their size.

    Raises:
        InputError: no file has any, or more than a byte tells apart.
    """
    listed = list_names(items, parts.kind, engine)
    found = {parts.part(item.name, name) for item, names in zip(items, listed, strict=True) for name in names}
    if not found - {REST}:
        raise InputError(f"parts: none of the {len(items)} files has {parts.kind}")
    if len(found | {REST}) > MOST_PARTS:
        raise InputError(
            f"parts: {len(found)} different names of {parts.kind}; {MOST_PARTS} at most. Join them by a table with the "
            "columns group and part"
        )
    named = sorted(found - {REST}, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    return [*named, REST]


def sample_parts(shape: Shape, samples: Samples, item: str, parts: PartNames, vocabulary: Sequence[str]) -> np.ndarray:
    """The part (count,) uint8 of every point: of its face, or of the vertex that is most of it."""
    number = {name: place for place, name in enumerate(vocabulary)}
    rest = number[REST]
    pieces = _pieces(shape, parts.kind)
    known = {own: number.get(parts.part(item, name), rest) for name, own in pieces}
    if not known:
        return np.full(len(samples.points), rest, dtype=np.uint8)
    if parts.kind == "points":
        assert shape.point_parts is not None
        nearest = samples.corners[np.arange(len(samples.corners)), samples.weights.argmax(axis=1)]
        own = shape.point_parts[nearest]
    else:
        of_faces = shape.groups if parts.kind == "groups" else shape.materials
        assert of_faces is not None
        assert samples.faces is not None
        own = of_faces[samples.faces]
    values, inverse = np.unique(own, return_inverse=True)
    return np.array([known[int(value)] for value in values], dtype=np.uint8)[inverse]


def each_piece(items: Sequence[Item], engine: Engine) -> list[Item]:
    """Every group of every file as an item, whose `member` is the group's name. Files of one group stay whole."""
    found = []
    for item, names in zip(items, list_names(items, "groups", engine), strict=True):
        if len(names) < 2:
            found.append(item)
        else:
            found += [replace(item, name=f"{item.name}/{name or REST}", member=name) for name in dict.fromkeys(names)]
    return found


def only_piece(shape: Shape, group: str) -> Shape:
    """The faces of a shape that belong to a group."""
    assert shape.faces is not None
    assert shape.groups is not None
    kept = np.isin(shape.groups, [place for place, name in enumerate(shape.group_names) if name == group])
    narrowed = {name: getattr(shape, name)[kept] for name in ("faces", "materials", "groups", "turned")
                if getattr(shape, name) is not None}  # fmt: skip
    return replace(shape, **narrowed)

"""PLY, ascii and binary: all its columns, or a shape."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.shape import Shape, triangulate
from act3d.readers.text import as_utf8

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_CORNERS = ("vertex_indices", "vertex_index")
_STRIPS = ("tristrips", "tristrip")
_HARMLESS = ("range_grid", "material", "camera")  # lists that are no faces: the pixels of a range image, ...
_COLORS = ("red", "green", "blue")
_PARTS = ("part", "part_id", "label", "segment", "class")  # properties that say which part a vertex belongs to
Columns = dict[str, Any]  # name -> values (n,), or (values of all lists, lengths (n,)) of a list


class _Element(NamedTuple):
    """A kind of record; `properties` are (name, type, type of a list's length or "")."""

    name: str
    size: int
    properties: list[tuple[str, str, str]]

    @property
    def smallest(self) -> int:
        """Bytes of a binary record whose lists are empty."""
        return sum(np.dtype(length or kind).itemsize for _, kind, length in self.properties)


def _header(data: bytes) -> tuple[str, list[_Element], int]:
    end = re.search(rb"^end_header[ \t]*(\r\n|\n|\r|$)", data[: 1 << 20].replace(b"\r", b"\n"), re.MULTILINE)
    if not data.startswith(b"ply") or end is None:
        raise InputError("has no PLY header")
    kind, elements = "", []
    try:
        for line in data[: end.start()].decode("ascii", errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["format"]:
                kind = words[1]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2]), []))
            elif words[:2] == ["property", "list"]:
                elements[-1].properties.append((words[4], _TYPES[words[3]], _TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1].properties.append((words[2], _TYPES[words[1]], ""))
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(f"has a damaged PLY header ({error})") from None
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise InputError(f"has PLY format {kind[:40]!r}")
    for element in elements:
        names = [name for name, _, _ in element.properties]
        if element.size < 0 or len(set(names)) < len(names) or (element.size and not names):
            raise InputError(f"has a damaged PLY header (element {element.name[:40]} of {element.size} records)")
        if any(length[:1] == "f" for _, _, length in element.properties):
            raise InputError(f"has a damaged PLY header (lists of {element.name[:40]} count in fractions)")
    at = end.end() if data[end.end() - 1 : end.end() + 1] != b"\r\n" else end.end() + 1
    return kind, elements, at


def _empty(element: _Element) -> Columns:
    nothing = np.empty(0)
    return {name: (nothing, nothing.astype(np.int64)) if length else nothing for name, _, length in element.properties}


def _binary(element: _Element, data: bytes, at: int, order: str) -> tuple[Columns, int]:
    """The columns of one element and where the next begins."""
    if element.size == 0:
        return _empty(element), at
    if element.size * element.smallest > len(data) - at:
        raise InputError(f"ends early: {element.size} records of {element.name!r} were promised")
    lists = [name for name, _, length in element.properties if length]
    # Try first that all lists are as long as the first record's: then one read takes all.
    fields: list[Any] = []
    probe = at
    for name, kind, length in element.properties:
        if length:
            size = int(np.frombuffer(data, order + length, 1, probe)[0])
            if not 0 <= size <= len(data):
                raise InputError(f"is damaged: a list of {element.name!r} has length {size}")
            fields += [(f"{name}/n", order + length), (name, order + kind, (size,))]
            probe += np.dtype(length).itemsize + size * np.dtype(kind).itemsize
        else:
            fields.append((name, order + kind))
            probe += np.dtype(kind).itemsize
    layout = np.dtype(fields) if probe - at < 2**31 else None
    if layout is not None and at + layout.itemsize * element.size <= len(data):
        table = np.frombuffer(data, layout, element.size, at)
        if all((table[f"{name}/n"] == table[name].shape[1]).all() for name in lists):
            columns: Columns = {name: table[name] for name, _, _ in element.properties}
            for name in lists:
                columns[name] = (table[name].reshape(-1), table[f"{name}/n"])
            return columns, at + layout.itemsize * element.size
    return _ragged(element, data, at, order)


def _ragged(element: _Element, data: bytes, at: int, order: str) -> tuple[Columns, int]:
    values: dict[str, list[np.ndarray]] = {name: [] for name, _, _ in element.properties}
    types = [(n, np.dtype(order + k), np.dtype(order + le) if le else None) for n, k, le in element.properties]
    for _ in range(element.size):
        for name, kind, length in types:
            size = 1
            if length is not None:
                size = int(np.frombuffer(data, length, 1, at)[0])
                at += length.itemsize
            if size < 0 or at + size * kind.itemsize > len(data):
                raise InputError(f"is damaged or cut off: a list of {element.name!r} has length {size}")
            values[name].append(np.frombuffer(data, kind, size, at) if size else np.empty(0, kind))
            at += size * kind.itemsize
    columns: Columns = {}
    for name, _, length in types:
        joined = np.concatenate(values[name])
        columns[name] = joined if length is None else (joined, np.array([len(v) for v in values[name]], dtype=np.int64))
    return columns, at


def _ascii(element: _Element, lines: list[str], at: int) -> Columns:
    if element.size == 0:
        return _empty(element)
    rows = [np.array(line.split(), dtype=np.float64) for line in lines[at : at + element.size]]
    if len(rows) < element.size:
        raise InputError(f"ends early: {element.size} records of {element.name!r} were promised")
    values: dict[str, list[np.ndarray]] = {name: [] for name, _, _ in element.properties}
    for row in rows:
        place = 0
        for name, _, length in element.properties:
            if place >= len(row):
                raise InputError(f"a record of {element.name!r} is too short")
            size = int(row[place]) if length else 1
            place += bool(length)
            if size < 0 or place + size > len(row):
                raise InputError(f"a record of {element.name!r} has a list of length {size}, which is not there")
            values[name].append(row[place : place + size])
            place += size
    columns: Columns = {}
    for name, kind, length in element.properties:
        joined = np.concatenate(values[name])
        if length and kind[0] in "iu" and (joined != np.floor(joined)).any():
            raise InputError(f"a list of {element.name!r} holds numbers that are not whole")
        columns[name] = (joined, np.array([len(v) for v in values[name]], dtype=np.int64)) if length else joined
    return columns


def ply_columns(path: Path) -> dict[str, Columns]:
    """All properties of a PLY file, ascii or binary, by element and name; a list is (values, lengths)."""
    data = as_utf8(read_regular(path))
    kind, elements, at = _header(data)
    columns: dict[str, Columns] = {}
    try:
        if kind == "ascii":
            lines = [line for line in data[at:].decode("ascii", errors="replace").splitlines() if line.strip()]
            line = 0
            for element in elements:
                columns[element.name] = _ascii(element, lines, line)
                line += element.size
        else:
            order = "<" if kind == "binary_little_endian" else ">"
            for element in elements:
                columns[element.name], at = _binary(element, data, at, order)
    except (ValueError, OverflowError) as error:
        raise InputError(str(error) if isinstance(error, InputError) else f"is damaged or cut off ({error})") from None
    return columns


def vertex_positions(columns: dict[str, Columns]) -> np.ndarray:
    """The vertices (V, 3) float64 of a PLY file's columns."""
    vertex = columns.get("vertex", {})
    if any(axis not in vertex or isinstance(vertex[axis], tuple) for axis in "xyz"):
        raise InputError("has no vertices with x, y and z")
    return np.stack([np.asarray(vertex[axis], dtype=np.float64) for axis in "xyz"], axis=1)


def read_ply(path: Path) -> Shape:
    """A PLY file, ascii or binary, with faces or triangle strips; one without either is a cloud.

    Raises:
        InputError: Damaged, or with faces of a kind that is not known: never another shape.
    """
    columns = ply_columns(path)
    vertices = vertex_positions(columns)
    faces: list[np.ndarray] = []
    for name, element in columns.items():
        if name == "face":
            polygons = next((element[key] for key in _CORNERS if isinstance(element.get(key), tuple)), None)
            if polygons is None and _size(element):
                raise InputError(f"has faces without {' or '.join(_CORNERS)}, but with {', '.join(element)[:100]}")
            if polygons is not None and len(polygons[1]):
                faces.append(triangulate(vertices, polygons[0].astype(np.int64), polygons[1])[0])
        elif name in _STRIPS:
            if not any(isinstance(element.get(key), tuple) for key in _CORNERS) and _size(element):
                raise InputError(f"has triangle strips without {' or '.join(_CORNERS)}")
            faces += [_strip_triangles(element[key], len(vertices)) for key in _CORNERS if key in element]
        elif name not in ("vertex", *_HARMLESS) and (_lists(element) and _size(element)):
            raise InputError(f"holds lists of {name[:40]!r}, which are not read")
    if not faces:
        if _size(columns.get("edge", {})):
            raise InputError("holds edges and no faces")
        return Shape(vertices, point_normals=_normals(columns["vertex"]), **_of_vertices(columns["vertex"]))
    return Shape(vertices, np.concatenate(faces), **_of_vertices(columns["vertex"]))


def _of_vertices(vertex: Columns) -> dict[str, Any]:
    """What a shape keeps of its vertices beside their places: colours in 0..1, and whole numbers of `_PARTS`."""
    found: dict[str, Any] = {}
    if all(name in vertex and not isinstance(vertex[name], tuple) for name in _COLORS):
        colors = np.stack([np.asarray(vertex[name], dtype=np.float64) for name in _COLORS], axis=1)
        found["point_colors"] = np.clip(colors / (255.0 if colors.max(initial=0) > 1 else 1.0), 0, 1)
    name = next((name for name in _PARTS if name in vertex and not isinstance(vertex[name], tuple)), None)
    if name is not None and (vertex[name] == np.round(vertex[name])).all():
        found["point_parts"] = np.asarray(vertex[name]).astype(np.int64)
    return found


def _normals(vertex: Columns) -> np.ndarray | None:
    """The normals (V, 3) of a cloud's points, of length 1."""
    names = ("nx", "ny", "nz")
    if not all(name in vertex and not isinstance(vertex[name], tuple) for name in names):
        return None
    normals = np.stack([np.asarray(vertex[name], dtype=np.float64) for name in names], axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _lists(element: Columns) -> bool:
    return any(isinstance(column, tuple) for column in element.values())


def _size(element: Columns) -> int:
    return max((len(column[1] if isinstance(column, tuple) else column) for column in element.values()), default=0)


def _strip_triangles(strips: tuple[np.ndarray, np.ndarray], vertices: int) -> np.ndarray:
    """Triangles (T, 3) of strips, which -1 or the end of a list ends; winding does not matter here."""
    values, lengths = strips
    ends = np.cumsum(lengths.astype(np.int64))
    chain = np.insert(values.astype(np.int64), ends, -1)
    triangles = np.stack([chain[:-2], chain[1:-1], chain[2:]], axis=1) if len(chain) > 2 else np.empty((0, 3), int)
    triangles = triangles[(triangles != -1).all(axis=1)]
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= vertices):
        raise InputError(f"a strip names a vertex outside 0..{vertices - 1}")
    return triangles

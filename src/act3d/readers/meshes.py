"""Readers for obj, off and ply (polygons cut properly), and for stl, glTF, Collada and 3MF through trimesh."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from act3d.errors import InputError
from act3d.readers.shape import Shape, triangulate


def _numbers(text: str, what: str) -> np.ndarray:
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        raise InputError(f"{what} are not all numbers") from None


def parse_obj(data: bytes) -> Shape:
    """A Wavefront OBJ file: vertices and faces (polygons of any size, negative numbers count from the end).

    A file with vertices and no faces is a cloud.
    """
    text = data.decode("utf-8", errors="replace").replace("\\\r\n", " ").replace("\\\n", " ")
    lines = text.splitlines()
    vertex_lines = [line.split(maxsplit=4)[1:4] for line in lines if line[:2] in ("v ", "v\t")]
    if any(len(line) != 3 for line in vertex_lines):
        raise InputError("a vertex line has fewer than three numbers")
    try:
        vertices = np.array(vertex_lines, dtype=np.float64).reshape(-1, 3)
    except ValueError:
        raise InputError("vertices are not all numbers") from None
    corners: list[int] = []
    sizes: list[int] = []
    seen = 0
    try:
        for line in lines:
            head = line[:2]
            if head in ("v ", "v\t"):
                seen += 1
            elif head in ("f ", "f\t"):
                face = [int(word.split("/", 1)[0]) for word in line[2:].split("#")[0].split()]
                # Numbers start at 1; a negative one counts back from the vertices seen so far.
                corners += [number - 1 if number > 0 else seen + number for number in face]
                sizes.append(len(face))
    except ValueError:
        raise InputError(f"face line {line.strip()!r} is not understood") from None
    if not sizes:
        return Shape(vertices)
    return Shape(vertices, triangulate(vertices, np.array(corners, dtype=np.int64), np.array(sizes))[0])


def read_obj(path: Path) -> Shape:
    """See `parse_obj`."""
    return parse_obj(path.read_bytes())


def read_off(path: Path) -> Shape:
    """An OFF file (also with colours, and with the counts on the first line, as in ModelNet)."""
    text = re.sub(r"#[^\n]*", "", path.read_bytes().decode("utf-8", errors="replace")).strip()
    kind = re.match(r"(ST)?(C)?(N)?(4)?(n)?OFF", text)
    if kind is None:
        raise InputError(f"starts with {text[:8]!r}, not with OFF")
    text = text[kind.end() :].lstrip()
    if text.startswith("BINARY"):
        raise InputError("binary OFF is not supported")
    lines = [line for line in text.splitlines() if line.strip()]
    counts = _numbers(lines[0], "the counts").astype(np.int64) if lines else np.empty(0)
    if len(counts) < 2:
        raise InputError("lacks the counts of vertices and faces")
    vertex_count, face_count = int(counts[0]), int(counts[1])
    if len(lines) < 1 + vertex_count + face_count:
        raise InputError(f"ends early: {vertex_count} vertices and {face_count} faces were promised")
    rows = [line.split()[:3] for line in lines[1 : 1 + vertex_count]]
    try:
        vertices = np.array(rows, dtype=np.float64).reshape(-1, 3)
        faces = [line.split() for line in lines[1 + vertex_count : 1 + vertex_count + face_count]]
        sizes = np.array([int(face[0]) for face in faces], dtype=np.int64)
        # What follows the corners in a line is a colour.
        corners = np.array([int(word) for face in faces for word in face[1 : int(face[0]) + 1]], dtype=np.int64)
    except ValueError:
        raise InputError("vertices or faces are not all numbers") from None
    if len(corners) != sizes.sum():
        raise InputError("a face has fewer corners than it says")
    return Shape(vertices, triangulate(vertices, corners, sizes)[0] if face_count else None)


_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


class _Element(NamedTuple):
    """A kind of record in a PLY file; `properties` are (name, type, type of a list's length or "")."""

    name: str
    size: int
    properties: list[tuple[str, str, str]]


def _ply_header(data: bytes) -> tuple[str, list[_Element], int]:
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise InputError("has no PLY header")
    kind, elements = "", []
    try:
        for line in data[:end].decode("ascii", errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["format"]:
                kind = words[1]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2]), []))
            elif words[:2] == ["property", "list"]:
                elements[-1].properties.append((words[4], _PLY_TYPES[words[3]], _PLY_TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1].properties.append((words[2], _PLY_TYPES[words[1]], ""))
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(f"has a damaged PLY header ({error})") from None
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise InputError(f"has PLY format {kind!r}")
    return kind, elements, data.index(b"\n", end) + 1


def _ply_binary(element: _Element, data: bytes, at: int, order: str) -> tuple[dict[str, Any], int]:
    """The columns of one element and where the next begins; a list becomes (values, lengths)."""
    lists = [name for name, _, length in element.properties if length]
    # Try first that all lists are as long as the first record's: then one read takes all.
    fields: list[Any] = []
    probe = at
    for name, kind, length in element.properties:
        if length and element.size:
            size = int(np.frombuffer(data, order + length, 1, probe)[0])
            fields += [(f"{name}/n", order + length), (name, order + kind, (size,))]
            probe += np.dtype(length).itemsize + size * np.dtype(kind).itemsize
        else:
            fields.append((name, order + kind))
            probe += np.dtype(kind).itemsize
    layout = np.dtype(fields)
    if at + layout.itemsize * element.size <= len(data):
        table = np.frombuffer(data, layout, element.size, at)
        if all((table[f"{name}/n"] == table[name].shape[1]).all() for name in lists):
            columns: dict[str, Any] = {name: table[name] for name, _, _ in element.properties}
            for name in lists:
                columns[name] = (table[name].reshape(-1), table[f"{name}/n"])
            return columns, at + layout.itemsize * element.size
    if not lists:
        raise InputError(f"ends early: {element.size} records of {element.name!r} were promised")
    return _ply_ragged(element, data, at, order)


def _ply_ragged(element: _Element, data: bytes, at: int, order: str) -> tuple[dict[str, Any], int]:
    values: dict[str, list[np.ndarray]] = {name: [] for name, _, _ in element.properties}
    types = [(n, np.dtype(order + k), np.dtype(order + le) if le else None) for n, k, le in element.properties]
    for _ in range(element.size):
        for name, kind, length in types:
            size = 1
            if length is not None:
                size = int(np.frombuffer(data, length, 1, at)[0])
                at += length.itemsize
            values[name].append(np.frombuffer(data, kind, size, at))
            at += size * kind.itemsize
    columns: dict[str, Any] = {}
    for name, _, length in types:
        joined = np.concatenate(values[name]) if values[name] else np.empty(0)
        columns[name] = joined if length is None else (joined, np.array([len(v) for v in values[name]], dtype=np.int64))
    return columns, at


def _ply_ascii(element: _Element, lines: list[str], at: int) -> dict[str, Any]:
    rows = [np.array(line.split(), dtype=np.float64) for line in lines[at : at + element.size]]
    if len(rows) < element.size:
        raise InputError(f"ends early: {element.size} records of {element.name!r} were promised")
    values: dict[str, list[np.ndarray]] = {name: [] for name, _, _ in element.properties}
    for row in rows:
        place = 0
        for name, _, length in element.properties:
            size = int(row[place]) if length else 1
            place += bool(length)
            if place + size > len(row):
                raise InputError(f"a record of {element.name!r} is too short")
            values[name].append(row[place : place + size])
            place += size
    return {
        name: (np.concatenate(values[name]), np.array([len(v) for v in values[name]], dtype=np.int64))
        if length
        else np.concatenate(values[name])
        for name, _, length in element.properties
        if values[name]
    }


def ply_columns(path: Path) -> dict[str, dict[str, Any]]:
    """All properties of a PLY file, ascii or binary, by element and name; a list is (values, lengths)."""
    data = path.read_bytes()
    kind, elements, at = _ply_header(data)
    columns: dict[str, dict[str, Any]] = {}
    try:
        if kind == "ascii":
            lines = [line for line in data[at:].decode("ascii", errors="replace").splitlines() if line.strip()]
            line = 0
            for element in elements:
                columns[element.name] = _ply_ascii(element, lines, line)
                line += element.size
        else:
            order = "<" if kind == "binary_little_endian" else ">"
            for element in elements:
                columns[element.name], at = _ply_binary(element, data, at, order)
    except ValueError as error:
        raise InputError(str(error) if isinstance(error, InputError) else f"is damaged or cut off ({error})") from None
    return columns


def read_ply(path: Path) -> Shape:
    """A PLY file, ascii or binary; one without faces is a cloud."""
    columns = ply_columns(path)
    vertex = columns.get("vertex", {})
    if any(axis not in vertex for axis in "xyz"):
        raise InputError("has no vertices with x, y and z")
    vertices = np.stack([np.asarray(vertex[axis], dtype=np.float64) for axis in "xyz"], axis=1)
    face = columns.get("face", {})
    polygons = next((face[key] for key in ("vertex_indices", "vertex_index") if key in face), None)
    if polygons is None or len(polygons[1]) == 0:
        return Shape(vertices)
    return Shape(vertices, triangulate(vertices, polygons[0].astype(np.int64), polygons[1])[0])


def read_dae(path: Path) -> Shape:
    """A Collada file with the transforms of its scene."""
    import collada
    from collada.common import DaeBrokenRefError, DaeError, DaeUnsupportedError

    try:
        scene = collada.Collada(str(path), ignore=[DaeUnsupportedError, DaeBrokenRefError]).scene
    except DaeError as error:
        raise InputError(f"is not readable Collada ({str(error).splitlines()[0]})") from None
    vertices: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    size = 0
    for geometry in scene.objects("geometry") if scene is not None else []:
        for primitive in geometry.primitives():
            if primitive.vertex is None or primitive.vertex_index is None or len(primitive.vertex_index) == 0:
                continue
            polygons = getattr(primitive, "original", None)
            if polygons is not None and hasattr(polygons, "vcounts"):
                sizes, corners = np.asarray(polygons.vcounts), primitive.vertex_index
            elif primitive.vertex_index.ndim == 2 and primitive.vertex_index.shape[1] == 3:
                sizes, corners = np.full(len(primitive.vertex_index), 3), primitive.vertex_index.reshape(-1)
            else:  # lines
                continue
            points = np.asarray(primitive.vertex, dtype=np.float64)
            faces.append(triangulate(points, corners, sizes)[0] + size)
            vertices.append(points)
            size += len(points)
    if not faces:
        raise InputError("holds no faces")
    return Shape(np.concatenate(vertices), np.concatenate(faces))


def read_with_trimesh(path: Path) -> Shape:
    """stl, glb, gltf and 3mf: formats of triangles, so nothing is lost in trimesh's hands."""
    import trimesh

    kind = path.suffix.lower().lstrip(".")
    try:
        # glTF refers to files beside it; the others are read from memory.
        source: Any = str(path) if kind == "gltf" else BytesIO(path.read_bytes())
        mesh = trimesh.load_scene(source, file_type=kind, process=False, skip_materials=True).to_mesh()
    except Exception as error:  # the libraries behind trimesh raise whatever they like
        raise InputError(f"is not readable {kind} ({type(error).__name__}: {str(error)[:100]})") from None
    if len(mesh.faces) == 0:
        raise InputError("holds no faces")
    return Shape(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64))

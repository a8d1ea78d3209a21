"""Wavefront OBJ."""

import re
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.shape import Shape, triangulate
from act3d.readers.text import decode

# Statements that add nothing to vertices and faces.
_OTHERS = {
    "v", "vt", "vn", "vp", "f", "fo", "p", "g", "o", "s", "mg", "usemtl", "mtllib", "usemap", "maplib", "bevel",
    "c_interp", "d_interp", "lod", "shadow_obj", "trace_obj", "cstype", "deg", "bmat", "step", "parm", "trim", "hole",
    "scrv", "sp", "end", "con", "ctech", "stech",
}  # fmt: skip
_UNREAD = {
    "surf": "a free-form surface", "bsp": "a B-spline patch", "bzp": "a Bezier patch", "cdc": "a Cardinal curve",
    "cdp": "a Cardinal patch", "call": "a call of another file", "csh": "a command",
}  # fmt: skip


def parse_obj(data: bytes) -> Shape:
    """Vertices and faces of an OBJ file: polygons of any size; negative numbers count from the end.

    A file with vertices and no faces is a cloud.
    """
    text = decode(data)
    if "\\" in text:
        text = re.sub(r"\\[ \t]*(\r\n|\n|\r)", " ", text)
    text = re.sub(r"^[ \t]+", "", text, flags=re.MULTILINE)
    keywords = set(re.findall(r"^[^\s#]+", text, flags=re.MULTILINE))
    for word, what in _UNREAD.items():
        if word in keywords:
            raise InputError(f"holds {what} ({word}), which is not read")
    lines = text.splitlines()
    vertex_lines = [line.split(maxsplit=4)[1:4] for line in lines if line[:2] in ("v ", "v\t")]
    if any(len(line) != 3 for line in vertex_lines):
        raise InputError("a vertex line has fewer than three numbers")
    try:
        vertices = np.array(vertex_lines, dtype=np.float64).reshape(-1, 3)
    except ValueError:
        raise InputError("vertices are not all numbers") from None
    corners, sizes = _faces(lines)
    if not sizes:
        unknown = sorted(keywords - _OTHERS)
        if unknown:
            raise InputError(f"has no faces, but lines that start with {unknown[0][:40]!r}")
        return Shape(vertices)
    if max(corners, default=0) >= len(vertices) or min(corners, default=0) < 0:
        raise InputError(f"a face names a vertex outside 0..{len(vertices) - 1}")
    return Shape(vertices, triangulate(vertices, np.array(corners, dtype=np.int64), np.array(sizes))[0])


def _faces(lines: list[str]) -> tuple[list[int], list[int]]:
    """The corners of all faces, counted from 0, one after the other, and how many each face has."""
    corners: list[int] = []
    sizes: list[int] = []
    seen = 0
    for line in lines:
        head = line[:2]
        if head in ("v ", "v\t"):
            seen += 1
        elif head in ("f ", "f\t", "fo"):
            try:
                face = [int(word.split("/", 1)[0]) for word in line[2:].split("#")[0].split()]
            except ValueError:
                raise InputError(f"face line {line.strip()[:60]!r} is not understood") from None
            if 0 in face:
                raise InputError("a face counts its vertices from 0; OBJ counts from 1")
            # Numbers start at 1; a negative one counts back from the vertices seen so far.
            corners += [number - 1 if number > 0 else seen + number for number in face]
            sizes.append(len(face))
    return corners, sizes


def read_obj(path: Path) -> Shape:
    """See `parse_obj`."""
    return parse_obj(read_regular(path))

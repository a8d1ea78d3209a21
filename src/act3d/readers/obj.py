"""Wavefront OBJ."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.obj_parts import face_names, material_colors
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
_VERTEX, _FACE = ("v ", "v\t"), ("f ", "f\t", "fo")
_DIGITS = 9  # of a vertex number that NumPy reads; longer ones are read one by one


def parse_obj(data: bytes, folder: Path | None = None) -> Shape:
    """Vertices and faces of an OBJ file: polygons of any size; negative numbers count from the end.

    A file with vertices and no faces is a cloud. Groups and materials of faces are kept.

    Args:
        data: Content of the file.
        folder: Where the files lie that it names for the colours of its materials; None = colours stay unknown.
    """
    text = decode(data)
    if "\\" in text:
        text = re.sub(r"\\[ \t]*(\r\n|\n|\r)", " ", text)
    if "\n " in text or "\n\t" in text or text[:1] in (" ", "\t"):
        text = re.sub(r"^[ \t]+", "", text, flags=re.MULTILINE)
    for word, what in _UNREAD.items():
        if ("\n" + word in text or text.startswith(word)) and word in _keywords(text):
            raise InputError(f"holds {what} ({word}), which is not read")
    lines = text.splitlines()
    vertices, colors = _vertices([line for line in lines if line[:2] in _VERTEX])
    faces = [line for line in lines if line[:2] in _FACE]
    corners, sizes = _plain_corners(faces) or _any_corners(lines)
    if not len(sizes):
        unknown = sorted(_keywords(text) - _OTHERS)
        if unknown:
            raise InputError(f"has no faces, but lines that start with {unknown[0][:40]!r}")
        return Shape(vertices, point_colors=colors)
    if max(corners, default=0) >= len(vertices) or min(corners, default=0) < 0:
        raise InputError(f"a face names a vertex outside 0..{len(vertices) - 1}")
    triangles, owner = triangulate(vertices, np.asarray(corners, dtype=np.int64), np.asarray(sizes))
    shape = Shape(vertices, triangles, point_colors=colors)
    groups, materials = face_names(text, lines, _FACE)
    if groups is not None:
        shape.groups, shape.group_names = groups.places[owner], groups.names
    if materials is not None:
        shape.materials, shape.material_names = materials.places[owner], materials.names
        shape.colors = material_colors(text, folder, materials.names) if folder is not None else None
    return shape


def _keywords(text: str) -> set[str]:
    """The first words of all lines."""
    return set(re.findall(r"^[^\s#]+", text, flags=re.MULTILINE))


def _vertices(lines: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Coordinates (V, 3) of lines that start with v, and colors (V, 3) where all have six numbers or more.

    What else they hold, such as a weight, is left out.
    """
    joined = " ".join(lines)
    words = joined.split()
    width = len(words) // max(len(lines), 1)
    # Nearly always all lines have equally many words, and no other word has a v.
    rest: Sequence[Sequence[str]] = []
    regular = width >= 4 and len(words) == width * len(lines) and joined.count("v") == len(lines)
    if regular and words[::width].count("v") == len(lines):
        columns: Sequence[Sequence[str]] = [words[1::width], words[2::width], words[3::width]]
        rest = [words[place::width] for place in (4, 5, 6)] if width >= 7 else []
    else:
        rows = [line.split(maxsplit=4)[1:4] for line in lines]
        if any(len(row) != 3 for row in rows):
            raise InputError("a vertex line has fewer than three numbers")
        columns = list(zip(*rows, strict=True))
    numbers = np.empty((len(lines), 3 + len(rest)))
    try:
        for axis, column in enumerate([*columns, *rest]):
            numbers[:, axis] = list(map(float, column))
    except ValueError:
        raise InputError("vertices are not all numbers") from None
    colors = numbers[:, 3:]
    known = len(rest) and np.isfinite(colors).all() and colors.min(initial=0) >= 0 and colors.max(initial=0) <= 1
    return np.ascontiguousarray(numbers[:, :3]), colors if known else None


def _plain_corners(lines: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """What `_any_corners` gives, if all faces are plain: numbers from 1 on, each perhaps with a slash and more behind.

    Reads all numbers at once, digit by digit. None where a line is not plain.
    """
    joined = " " + "\n".join(lines) + " "
    if "#" in joined or "\x1f" in joined or not joined.isascii():  # comments, and blanks of other kinds
        return None
    text = np.frombuffer(joined.encode(), dtype=np.uint8)
    blank = (text == ord(" ")) | (text == ord("\t")) | (text == ord("\n"))
    starts = np.flatnonzero(blank[:-1] & ~blank[1:]) + 1  # of all words
    heads = text[starts] == ord("f")  # the first word of a line
    if heads.sum() != len(lines) or not blank[starts[heads] + 1].all():
        return None
    places = starts[~heads]
    numbers, going = np.zeros(len(places), dtype=np.int64), np.ones(len(places), dtype=bool)
    for _ in range(_DIGITS):
        digits = text[places] - np.uint8(ord("0"))  # of others it wraps to more than 9
        going &= digits <= 9
        if not going.any():
            break
        numbers = np.where(going, 10 * numbers + digits, numbers)
        places = places + going
    if not (numbers > 0).all() or not (blank[places] | (text[places] == ord("/"))).all():
        return None
    owner = (np.cumsum(heads) - 1)[~heads]
    return numbers - 1, np.bincount(owner, minlength=len(lines))


def _any_corners(lines: list[str]) -> tuple[list[int], list[int]]:
    """The corners of all faces, counted from 0, one after the other, and how many each face has."""
    corners: list[int] = []
    sizes: list[int] = []
    seen = 0
    for line in lines:
        head = line[:2]
        if head in _VERTEX:
            seen += 1
        elif head in _FACE:
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
    return parse_obj(read_regular(path), path.parent)

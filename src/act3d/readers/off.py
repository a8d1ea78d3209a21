"""OFF, the format of Geomview and of ModelNet."""

import re
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.shape import Shape, triangulate
from act3d.readers.text import decode, numbers


def read_off(path: Path) -> Shape:
    """An OFF file (also with colours or normals, and with the counts on the first line, as in ModelNet)."""
    text = re.sub(r"#[^\n]*", "", re.sub(r"\r\n?", "\n", decode(read_regular(path)))).strip()
    kind = re.match(r"(ST)?(C)?(N)?(4)?(n)?OFF", text)
    if kind is None:
        raise InputError(f"starts with {text[:8]!r}, not with OFF")
    if kind[4] or kind[5]:
        raise InputError(f"is {kind[0]}, points of another space than x, y, z; only OFF, COFF, NOFF and STOFF are read")
    text = text[kind.end() :].lstrip()
    if text.startswith("BINARY"):
        raise InputError("binary OFF is not supported")
    lines = [line for line in text.splitlines() if line.strip()]
    counts = numbers(lines[0].split(), "the counts") if lines else np.empty(0)
    if len(counts) < 2:
        raise InputError("lacks the counts of vertices and faces")
    if not all(0 <= count < 2**40 and count == round(count) for count in counts[:2].tolist()):
        raise InputError(f"promises {counts[0]:g} vertices and {counts[1]:g} faces")
    vertex_count, face_count = int(counts[0]), int(counts[1])
    if len(lines) < 1 + vertex_count + face_count:
        raise InputError(f"ends early: {vertex_count} vertices and {face_count} faces were promised")
    rows = [line.split()[:3] for line in lines[1 : 1 + vertex_count]]
    if any(len(row) < 3 for row in rows):
        raise InputError("a vertex has fewer than three numbers")
    vertices = numbers(rows, "vertices").reshape(-1, 3)
    faces = [line.split() for line in lines[1 + vertex_count : 1 + vertex_count + face_count]]
    try:
        sizes = np.array([int(face[0]) for face in faces], dtype=np.int64)
        # What follows the corners in a line is a colour.
        corners = np.array([int(word) for face in faces for word in face[1 : int(face[0]) + 1]], dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError("vertices or faces are not all whole numbers of a usual size") from None
    if sizes.min(initial=0) < 0 or any(len(face) <= size for face, size in zip(faces, sizes.tolist(), strict=True)):
        raise InputError("a face has fewer corners than it says")
    return Shape(vertices, triangulate(vertices, corners, sizes)[0] if face_count else None)

"""STL, binary and ascii."""

import re
import struct
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.shape import Shape
from act3d.readers.text import as_utf8

_HEAD = 84  # a comment of 80 bytes and the number of triangles
_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_NUMBER = rb"[ \t]+(\S+)"
_VERTEX = re.compile(rb"^[ \t]*vertex" + 3 * _NUMBER, re.MULTILINE | re.IGNORECASE)
_FACET = re.compile(rb"^[ \t]*facet\b", re.MULTILINE | re.IGNORECASE)
_END = re.compile(rb"^[ \t]*endsolid\b", re.MULTILINE | re.IGNORECASE)


def read_stl(path: Path) -> Shape:
    """Triangles of an STL file; bytes behind the triangles that a binary one promises are ignored."""
    data = read_regular(path)
    promised = struct.unpack_from("<I", data, 80)[0] if len(data) >= _HEAD else 0
    # Binary files may start with "solid" too: a size that fits decides, then the words of the text form.
    fits = len(data) >= _HEAD and len(data) == _HEAD + promised * _RECORD.itemsize
    if not fits:
        text = as_utf8(data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if text[:512].lstrip()[:5].lower() == b"solid" and _FACET.search(text[:65536]):
            return _ascii(text)
    if len(data) < _HEAD:
        raise InputError("is no STL: neither text with facets nor long enough for a binary header")
    if len(data) < _HEAD + promised * _RECORD.itemsize:
        raise InputError(f"ends early: {promised} triangles were promised, {(len(data) - _HEAD) // 50} are there")
    corners = np.frombuffer(data, _RECORD, promised, _HEAD)["corners"].astype(np.float64)
    return _triangles(corners.reshape(-1, 3))


def _ascii(data: bytes) -> Shape:
    facets = len(_FACET.findall(data))
    try:
        vertices = np.array(_VERTEX.findall(data), dtype=np.float64).reshape(-1, 3)
    except ValueError:
        raise InputError("vertices are not all numbers") from None
    if len(vertices) != 3 * facets or not _END.search(data):
        raise InputError(f"is damaged or ends early: {facets} facets with {len(vertices)} vertices")
    return _triangles(vertices)


def _triangles(vertices: np.ndarray) -> Shape:
    if not len(vertices):
        raise InputError("holds no faces")
    return Shape(vertices, np.arange(len(vertices), dtype=np.int64).reshape(-1, 3))

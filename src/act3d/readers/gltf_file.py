"""The container of glTF 2.0: JSON, buffers, accessors. No geometry yet."""

import base64
import binascii
import json
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.text import decode

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_ZEROS = 10_000_000  # numbers that an accessor without data may stand for
_JSON, _BIN = 0x4E4F534A, 0x004E4942


class GltfFile:
    """The content of a .gltf or .glb file: `content` is its JSON, `accessor` gives arrays.

    Raises:
        InputError: No glTF 2.0, damaged, cut off, or with buffers outside the file's folder.
    """

    def __init__(self, data: bytes, folder: Path) -> None:
        self.folder = folder
        self._chunk: bytes | None = None
        text = decode(self._glb(data)) if data[:4] == b"glTF" else decode(data)
        try:
            self.content: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is no readable glTF ({str(error)[:100]})") from None
        version = self.content.get("asset", {}).get("version") if isinstance(self.content, dict) else None
        if not isinstance(version, str) or not version.startswith("2."):
            raise InputError(f"has glTF version {str(version)[:20]!r}; 2.0 is read")
        self._buffers: dict[int, bytes] = {}

    def _glb(self, data: bytes) -> bytes:
        """The JSON chunk; keeps the binary one."""
        if len(data) < 20:
            raise InputError("ends early")
        version, length = struct.unpack_from("<II", data, 4)
        if version != 2:
            raise InputError(f"has glTF version {version}; 2.0 is read")
        if length > len(data):
            raise InputError(f"ends early: {length} bytes were promised, {len(data)} are there")
        chunks: dict[int, bytes] = {}
        at = 12
        while at + 8 <= length:
            size, kind = struct.unpack_from("<II", data, at)
            if at + 8 + size > length:
                raise InputError(f"ends early: a part of {size} bytes was promised")
            chunks.setdefault(kind, data[at + 8 : at + 8 + size])
            at += 8 + size
        if _JSON not in chunks:
            raise InputError("is damaged: a .glb without its JSON part")
        self._chunk = chunks.get(_BIN)
        return chunks[_JSON]

    def item(self, kind: str, place: Any) -> dict[str, Any]:
        """Entry `place` of the top-level list `kind`."""
        items = self.content.get(kind, [])
        if not isinstance(items, list) or isinstance(place, bool) or not isinstance(place, int):
            raise InputError(f"is damaged: {kind}[{str(place)[:20]}]")
        if not 0 <= place < len(items) or not isinstance(items[place], dict):
            raise InputError(f"is damaged: it has no {kind}[{place}]")
        found: dict[str, Any] = items[place]
        return found

    def _buffer(self, place: int) -> bytes:
        if place not in self._buffers:
            about = self.item("buffers", place)
            uri = about.get("uri")
            if uri is None:
                if place != 0 or self._chunk is None:
                    raise InputError(f"is damaged: buffer {place} has no data")
                data = self._chunk
            else:
                data = self._fetch(str(uri))
            length = whole(about, "byteLength", None)
            if len(data) < length:
                raise InputError(f"buffer {place} ends early: {length} bytes were promised, {len(data)} are there")
            self._buffers[place] = data[:length]
        return self._buffers[place]

    def _fetch(self, uri: str) -> bytes:
        """The bytes that a URI stands for: inline, or a regular file in the folder of this one."""
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            try:
                return base64.b64decode(unquote(body)) if head.endswith(";base64") else unquote(body).encode("latin-1")
            except (binascii.Error, ValueError):
                raise InputError("is damaged: a buffer that is not base64") from None
        name = unquote(uri)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name) or "\0" in name:
            raise InputError(f"refers to {name[:60]!r}; only files beside it are read")
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise InputError(f"refers to {name[:60]!r}, outside its folder; only files beside it are read")
        try:
            return read_regular(path)
        except InputError as error:
            raise InputError(f"refers to {name[:60]!r}, which {error}") from None

    def view(self, place: Any) -> tuple[bytes, dict[str, Any]]:
        """The bytes of a buffer view, and its entry."""
        about = self.item("bufferViews", place)
        for name in about.get("extensions", {}):
            raise InputError(f"uses {str(name)[:40]} for its data, which is not read")
        start, length = whole(about, "byteOffset", 0), whole(about, "byteLength", None)
        data = self._buffer(whole(about, "buffer", None))
        if start + length > len(data):
            raise InputError(f"is damaged: data at {start} to {start + length} of a buffer of {len(data)} bytes")
        return data[start : start + length], about

    def accessor(self, place: Any, kinds: tuple[str, ...], integers: bool = False) -> np.ndarray:
        """An accessor as float64 (n, components), normalized integers divided; as int64 where `integers`."""
        about = self.item("accessors", place)
        kind = about.get("type")
        if kind not in kinds or about.get("componentType") not in _TYPES:
            raise InputError(f"is damaged: accessor {place} is {str(kind)[:20]} of {about.get('componentType')}")
        count, width = whole(about, "count", None), _COMPONENTS[str(kind)]
        dtype = np.dtype(_TYPES[about["componentType"]])
        values = self._elements(about, count, width, dtype)
        if "sparse" in about:
            values = self._sparse(about["sparse"], values.copy(), dtype)
        if integers:
            if dtype.kind == "f":
                raise InputError(f"is damaged: accessor {place} counts in fractions")
            return values.astype(np.int64)
        wide = values.astype(np.float64)
        if about.get("normalized") is True and dtype.kind != "f":
            wide = np.maximum(wide / np.iinfo(dtype).max, -1.0)
        return wide

    def _elements(self, about: dict[str, Any], count: int, width: int, dtype: np.dtype[Any]) -> np.ndarray:
        if "bufferView" not in about:
            if count * width > _ZEROS:
                raise InputError(f"is damaged: {count} values without data")
            return np.zeros((count, width), dtype)
        data, view = self.view(about["bufferView"])
        return _strided(data, whole(about, "byteOffset", 0), count, width, dtype, whole(view, "byteStride", 0))

    def _sparse(self, about: dict[str, Any], values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """Put the values that a sparse accessor gives in their places."""
        count, indices, replaced = whole(about, "count", None), about["indices"], about["values"]
        kind = _TYPES.get(indices.get("componentType"))
        if kind is None or kind == "<f4":
            raise InputError("is damaged: a sparse accessor")
        data, _ = self.view(indices["bufferView"])
        places = _strided(data, whole(indices, "byteOffset", 0), count, 1, np.dtype(kind), 0)[:, 0].astype(np.int64)
        if places.min(initial=0) < 0 or places.max(initial=-1) >= len(values):
            raise InputError("is damaged: a sparse accessor names a place outside")
        data, _ = self.view(replaced["bufferView"])
        values[places] = _strided(data, whole(replaced, "byteOffset", 0), count, values.shape[1], dtype, 0)
        return values


def whole(about: dict[str, Any], key: str, default: int | None) -> int:
    """A count or place from JSON: a whole number, not negative; required where there is no default."""
    value = about.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"is damaged: {key} is {str(value)[:20]}")
    return value


def _strided(data: bytes, start: int, count: int, width: int, dtype: np.dtype[Any], stride: int) -> np.ndarray:
    """(count, width) values that begin every `stride` bytes; 0 = one after the other."""
    size = dtype.itemsize * width
    stride = stride or size
    if count and (stride < size or start + (count - 1) * stride + size > len(data)):
        raise InputError(f"ends early: {count} values were promised, {len(data)} bytes are there")
    if not count:
        return np.empty((0, width), dtype)
    return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))

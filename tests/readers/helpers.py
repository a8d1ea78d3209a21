"""What a shape is, in a few numbers, and small glTF files."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from act3d.readers.shape import Shape, face_areas

CASES = Path(__file__).parent.parent / "fixtures" / "cases"
HOSTILE = Path(__file__).parent.parent / "fixtures" / "hostile"
# The one shape of all meshes in fixtures/cases: area, centroid by area, extent.
AREA, CENTROID, EXTENT = 23.5, (0.548, 0.952, 1.420), (1.5, 2.0, 3.0)


def area(shape: Shape) -> float:
    assert shape.faces is not None
    return float(face_areas(shape.vertices, shape.faces).sum())


def centroid(shape: Shape) -> np.ndarray:
    assert shape.faces is not None
    areas = face_areas(shape.vertices, shape.faces)
    middle: np.ndarray = (shape.vertices[shape.faces].mean(axis=1) * areas[:, None]).sum(axis=0) / areas.sum()
    return middle


def is_the_shape(shape: Shape) -> bool:
    """Whether this is the one shape of fixtures/cases."""
    assert shape.faces is not None
    used = shape.vertices[np.unique(shape.faces)]
    return bool(
        abs(area(shape) - AREA) < 1e-3
        and np.allclose(centroid(shape), CENTROID, atol=1e-3)
        and np.allclose(np.ptp(used, axis=0), EXTENT, atol=1e-3)
    )


class Gltf:
    """A glTF file of one scene, made array by array."""

    def __init__(self) -> None:
        self.data = b""
        self.content: dict[str, Any] = {
            "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": []}], "accessors": [], "bufferViews": [],
        }  # fmt: skip

    def view(self, data: bytes, **more: Any) -> int:
        """Append bytes as a buffer view."""
        self.content["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.content["bufferViews"]) - 1

    def accessor(self, array: np.ndarray, **more: Any) -> int:
        """Append an array as an accessor."""
        types = {"f4": 5126, "i2": 5122, "u2": 5123, "i1": 5120, "u1": 5121, "u4": 5125}
        kind = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}[1 if array.ndim == 1 else array.shape[1]]
        about = {"componentType": types[array.dtype.str[1:]], "count": len(array), "type": kind}
        self.content["accessors"].append(about | {"bufferView": self.view(array.tobytes())} | more)
        return len(self.content["accessors"]) - 1

    def primitive(self, positions: np.ndarray, index: np.ndarray | None = None, **more: Any) -> dict[str, Any]:
        """Append a primitive to the first mesh."""
        primitive: dict[str, Any] = {"attributes": {"POSITION": self.accessor(positions.astype("<f4"))}, **more}
        if index is not None:
            primitive["indices"] = self.accessor(index.astype("<u2").reshape(-1))
        self.content["meshes"][0]["primitives"].append(primitive)
        return primitive

    def write(self, path: Path, uri: str | None = None) -> Path:
        """Write .glb, or .gltf with its data inline or at `uri`."""
        buffer: dict[str, Any] = {"byteLength": len(self.data)}
        if path.suffix == ".gltf":
            buffer["uri"] = uri or "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
            path.write_text(json.dumps(self.content | {"buffers": [buffer]}))
            return path
        text = json.dumps(self.content | {"buffers": [buffer]}).encode()
        text += b" " * (-len(text) % 4)
        parts = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(self.data), 0x004E4942)
        path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(parts) + len(self.data)) + parts + self.data)
        return path

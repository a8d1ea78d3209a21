"""What a glTF scene is put together of: matrices of nodes, triangles of primitives, colours of materials."""

from typing import Any

import numpy as np

POINTS, LINES, TRIANGLES, STRIP, FAN = 0, (1, 2, 3), 4, 5, 6


def triangles_of(index: np.ndarray, mode: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (T, 3) that an order of vertices stands for, and which of them (T,) are turned the other way round."""
    if mode == POINTS or len(index) < 3:
        faces = np.empty((0, 3), dtype=np.int64)
    elif mode == TRIANGLES:
        faces = index[: len(index) // 3 * 3].reshape(-1, 3)
    elif mode == STRIP:
        faces = np.stack([index[:-2], index[1:-1], index[2:]], axis=1)
    else:
        faces = np.stack([np.full(len(index) - 2, index[0]), index[1:-1], index[2:]], axis=1)
    return faces, (np.arange(len(faces)) % 2 == 1) & (mode == STRIP)


def color_of(material: dict[str, Any]) -> tuple[float, ...]:
    """The colour (red, green, blue) in 0..1 of a glTF material, as screens show it; NaN where a texture has it."""
    surface = material.get("pbrMetallicRoughness", {})
    if "baseColorTexture" in surface:
        return (np.nan,) * 3
    linear = np.clip(np.array(surface.get("baseColorFactor", [1.0] * 4)[:3], dtype=np.float64), 0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return tuple(np.round(shown, 6).tolist())


def local_matrix(node: dict[str, Any]) -> np.ndarray:
    """The (4, 4) matrix of a node in its parent."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    parts = [("translation", (0.0, 0.0, 0.0)), ("rotation", (0.0, 0.0, 0.0, 1.0)), ("scale", (1.0, 1.0, 1.0))]
    arrays = [np.array(node.get(key, default), dtype=np.float64).reshape(1, len(default)) for key, default in parts]
    matrix: np.ndarray = compose(*arrays)[0]
    return matrix


def compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices (n, 4, 4) from translations (n, 3), quaternions x y z w (n, 4) and scales (n, 3)."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    x, y, z, w = (rotation / np.where(length > 0, length, 1.0)).T
    matrices = np.zeros((len(translation), 4, 4))
    matrices[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    matrices[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    matrices[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    matrices[:, :3, :3] *= scale[:, None, :]
    matrices[:, :3, 3], matrices[:, 3, 3] = translation, 1
    return matrices

"""Normals and colours of points that were taken from a shape."""

from collections.abc import Sequence

import numpy as np

from act3d.channel_values import from_colors
from act3d.channels import width_of
from act3d.readers.shape import Samples, Shape


def channel_values(shape: Shape, samples: Samples, channels: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Values (count, F) in -1..1 of the channels, and the names of those that the shape has.

    A mesh has the normals of its faces, as the order of their corners says, and the colours of its materials or
    vertices; a cloud has what its file says. 0 where nothing is known.
    """
    values, known = np.zeros((len(samples.points), width_of(channels))), []
    start = 0
    for name in channels:
        found = _normals(shape, samples) if name == "normal" else _colors(shape, samples)
        if found is not None and np.isfinite(found).any():
            values[:, start : start + 3] = np.nan_to_num(found)
            known.append(name)
        start += 3
    return values, known


def _normals(shape: Shape, samples: Samples) -> np.ndarray | None:
    if shape.faces is None or samples.faces is None:
        return None if shape.point_normals is None else shape.point_normals[samples.corners[:, 0]]
    a, b, c = (shape.vertices[samples.corners[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    if shape.turned is not None:
        normals[shape.turned[samples.faces]] *= -1
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


def _colors(shape: Shape, samples: Samples) -> np.ndarray | None:
    if shape.materials is not None and shape.colors is not None and samples.faces is not None:
        found: np.ndarray = from_colors(shape.colors[shape.materials[samples.faces]])
        return found
    if shape.point_colors is None:
        return None
    mixed = (shape.point_colors[samples.corners] * samples.weights[:, :, None]).sum(axis=1)
    return from_colors(mixed)

"""Up axes: rotations to y, and the up axis of a file that does not declare it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from act3d.errors import InputError

UP_AXES = ("x", "y", "z")
# Formats that say which axis is up, by their standard or by an entry that their reader has applied.
SAID_UP = {".gltf": "y", ".glb": "y", ".dae": "y", ".3mf": "z", ".dat": "y", ".ldr": "y", ".las": "z", ".laz": "z"}

# Proper rotations (no mirror) that carry the named axis to y; -z means that a file's z points down. Rows are the new
# x, y, z.
_TO_Y_UP: dict[str, list[list[float]]] = {
    "x": [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
    "y": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "z": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]],
    "-x": [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
    "-y": [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]],
    "-z": [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]],
}


def rotation_to_y_up(up: str) -> np.ndarray:
    """The (3, 3) float64 matrix R for which `points @ R.T` stands upright along y when `points` stood along `up`."""
    if up not in _TO_Y_UP:
        raise InputError(f"up axis {up!r} is not known; allowed: {', '.join(UP_AXES)}")
    return np.array(_TO_Y_UP[up])


def to_y_up(points: np.ndarray, axis: str, turned_from: str = "") -> np.ndarray:
    """Turn points (n, 3) that stand along `axis` upright.

    Args:
        points: Of a file.
        axis: As the file's own coordinates have it.
        turned_from: Where its reader has turned it already, from what: that is taken back first.
    """
    own = points @ rotation_to_y_up(turned_from) if turned_from else points
    return own @ rotation_to_y_up(axis).T


class UpAxis(NamedTuple):
    """The axis, and what decided it: "asked", "training" (as the model's training files), "file" or "guess"."""

    axis: str
    by: str


def choose_up(suffix: str, of_file: str, meta: Mapping[str, Any], asked: str | None) -> UpAxis:
    """Decide which axis of a file is up.

    In this order: what the user asked for; the axis of the training files with this suffix; what the file declares;
    `source_up` of a model that does not know the suffixes of its training files; y.

    Args:
        suffix: Of the file, with its dot.
        of_file: `Shape.up`.
        meta: Of the model or dataset: `source_formats` (suffix -> axis in the training files) and `source_up`.
        asked: x, y, z, or None for auto.
    """
    formats: Mapping[str, str] = meta.get("source_formats") or {}
    if asked is not None:
        return UpAxis(asked, "asked")
    if suffix.lower() in formats:
        return UpAxis(formats[suffix.lower()], "training")
    if of_file:
        return UpAxis(of_file, "file")
    if meta.get("source_up") and not formats:
        return UpAxis(str(meta["source_up"]), "training")
    return UpAxis("y", "guess")


def up_note(up: UpAxis, suffix: str, asking: str = "--up x, y or z") -> str:
    """A line that says what was inferred about files that do not say it themselves; "" where nothing was.

    Args:
        up, suffix: What was decided about files of a suffix.
        asking: How the user says it.
    """
    if up.by == "training" and suffix.lower() not in SAID_UP:
        return f"{suffix} files do not say which axis is up: {up.axis}, as in the training files (else {asking})"
    if up.by == "guess":
        return f"{suffix} files do not say which axis is up: y is taken (else {asking})"
    return ""

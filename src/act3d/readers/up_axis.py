"""Up axes: how to turn, and what is up where a file does not say."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from act3d.errors import InputError

UP_AXES = ("x", "y", "z")

# Proper rotations (no mirror) that carry the named axis to y. Rows are the new x, y, z.
_TO_Y_UP: dict[str, list[list[float]]] = {
    "x": [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
    "y": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "z": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]],
}


def rotation_to_y_up(up: str) -> np.ndarray:
    """The (3, 3) float64 matrix R for which `points @ R.T` stands upright along y when `points` stood along `up`."""
    if up not in _TO_Y_UP:
        raise InputError(f"up axis {up!r} is not known; allowed: {', '.join(UP_AXES)}")
    return np.array(_TO_Y_UP[up])


class UpAxis(NamedTuple):
    """The axis, and what decided it: "asked", "file", "training" (as the model's training files) or "guess"."""

    axis: str
    by: str


def choose_up(suffix: str, of_file: str, meta: Mapping[str, Any], asked: str | None) -> UpAxis:
    """Decide which axis of a file is up.

    What was asked for wins, then what the file says of itself, then the axis of the model's training files, if these
    had this suffix or nobody recorded theirs; then y.

    Args:
        suffix: Of the file, with its dot.
        of_file: `Shape.up`.
        meta: Of the model or dataset: `source_up`, and `source_formats`, the suffixes that `source_up` is true of.
        asked: x, y, z, or None for auto.
    """
    if asked is not None:
        return UpAxis(asked, "asked")
    if of_file:
        return UpAxis(of_file, "file")
    formats: Sequence[str] = meta.get("source_formats") or ()
    if meta.get("source_up") and (not formats or suffix.lower() in formats):
        return UpAxis(str(meta["source_up"]), "training")
    return UpAxis("y", "guess")


def up_note(up: UpAxis, suffix: str) -> str:
    """A line that says what was inferred, "" where nothing was."""
    if up.by == "training":
        return f"{suffix} files do not say which axis is up: {up.axis}, as in the training files (--up x, y or z)"
    if up.by == "guess":
        return f"{suffix} files do not say which axis is up: y is taken (--up x, y or z)"
    return ""

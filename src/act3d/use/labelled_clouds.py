"""Labelled clouds as PLY files with a colour for every class, for other programs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.files import atomic_path, printable
from act3d.report.class_colors import class_colors, label_colors


def write_ply(path: str | Path, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Path:
    """Write points (n, 3) with labels (n,) as binary PLY: x y z, red green blue, label (-1 = none).

    Coordinates are float32, or float64 where float32 would move points: far from the origin, as in maps' coordinates.
    The header lists the classes and their colours as comments.

    Raises:
        InputError: Shapes that do not fit, or labels that are no class.
    """
    labels = np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 3 or labels.shape != points.shape[:1]:
        raise InputError(f"points {points.shape} and labels {labels.shape} must be (n, 3) and (n,)")
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(classes):
        raise InputError(f"labels run from {labels.min()} to {labels.max()}; there are {len(classes)} classes")
    kind, name = ("<f8", "double") if _needs_double(points) else ("<f4", "float")
    layout = [(axis, kind) for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(points), dtype=[*layout, ("label", "<i2")])
    for axis, column in zip("xyz", points.T, strict=True):
        rows[axis] = column
    for color_name, column in zip(("red", "green", "blue"), label_colors(labels, classes).T, strict=True):
        rows[color_name] = column
    rows["label"] = labels
    notes = [
        f"comment label {i} = {printable(name)}, colour {' '.join(map(str, color))}"
        for i, (name, color) in enumerate(zip(classes, class_colors(classes).tolist(), strict=True))
    ]
    properties = [f"property {name} {axis}" for axis in "xyz"]
    properties += [f"property uchar {name}" for name in ("red", "green", "blue")] + ["property short label"]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *notes,
        f"element vertex {len(rows)}",
        *properties,
        "end_header",
    ]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode("ascii", errors="backslashreplace"))
        file.write(rows.tobytes())
    return Path(path)


def _needs_double(points: np.ndarray) -> bool:
    """Whether float32 would move a point by more than a millionth of the cloud's extent."""
    moved = np.abs(points - points.astype(np.float32)).max(initial=0.0)
    return bool(moved > 1e-6 * np.ptp(points, axis=0).max(initial=0.0)) if len(points) else False

"""Labelled clouds for other programs' eyes: PLY files with a colour for every class."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from act3d.data.rooms import S3DIS_CLASSES
from act3d.errors import InputError
from act3d.files import atomic_path

UNLABELLED_COLOR = (128, 128, 128)
_S3DIS_COLORS = [
    (120, 200, 120), (70, 90, 160), (150, 205, 215), (240, 200, 60), (200, 60, 190), (110, 130, 235), (190, 170, 90),
    (165, 115, 195), (220, 60, 50), (225, 130, 110), (20, 155, 95), (230, 230, 230), (70, 70, 70),
]  # fmt: skip


def class_colors(classes: Sequence[str]) -> np.ndarray:
    """Colours (K, 3) uint8, one a class; neighbours in the list differ in hue and lightness."""
    if list(classes) == S3DIS_CLASSES:
        return np.array(_S3DIS_COLORS, dtype=np.uint8)
    colors = [colorsys.hls_to_rgb(i * 0.381966 % 1, (0.42, 0.62)[i % 2], 0.65) for i in range(len(classes))]
    return (255 * np.array(colors)).round().astype(np.uint8)


def colors_of(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Colours (n, 3) uint8 of labels (n,); grey where the label is -1."""
    palette = np.concatenate([class_colors(classes), [UNLABELLED_COLOR]]).astype(np.uint8)
    return palette[labels]


def write_ply(path: str | Path, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Path:
    """Write points (n, 3) with labels (n,) as binary PLY: x y z, red green blue, label (-1 = none).

    The classes and their colours stand in the header as comments.

    Raises:
        InputError: Shapes that do not fit, or labels that are no class.
    """
    labels = np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 3 or labels.shape != points.shape[:1]:
        raise InputError(f"points {points.shape} and labels {labels.shape} must be (n, 3) and (n,)")
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(classes):
        raise InputError(f"labels run from {labels.min()} to {labels.max()}; there are {len(classes)} classes")
    layout = [(axis, "<f4") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(points), dtype=[*layout, ("label", "<i2")])
    for axis, column in zip("xyz", points.T, strict=True):
        rows[axis] = column
    for name, column in zip(("red", "green", "blue"), colors_of(labels, classes).T, strict=True):
        rows[name] = column
    rows["label"] = labels
    notes = [
        f"comment label {i} = {name}, colour {' '.join(map(str, color))}"
        for i, (name, color) in enumerate(zip(classes, class_colors(classes).tolist(), strict=True))
    ]
    properties = [f"property float {axis}" for axis in "xyz"]
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
        file.write(("\n".join(header) + "\n").encode("ascii", errors="replace"))
        file.write(rows.tobytes())
    return Path(path)

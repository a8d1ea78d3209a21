"""Scans: points with colours and labels of npy, ply, las and laz; points alone of everything that is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from act3d.channel_values import from_colors
from act3d.errors import InputError
from act3d.readers.by_suffix import Sample, read_shape
from act3d.readers.las import LAS_SUFFIXES, open_las
from act3d.readers.limits import read_regular
from act3d.readers.numpy_files import check_upright, parse_npy
from act3d.readers.ply import ply_columns, vertex_positions

LABEL_NAMES = ("label", "class", "classification", "semantic", "scalar_label", "scalar_classification", "category")
SUFFIXES = (".npy", ".ply", *LAS_SUFFIXES)
ALL_COLUMNS = 7  # of an array with colours: x, y, z, red, green, blue, label


class LabelledCloud(NamedTuple):
    """Points (n, 3), colors (n, 3) in 0..255 and label values (n,) as the file has them."""

    points: np.ndarray
    colors: np.ndarray
    values: np.ndarray


def read_labelled(path: Path, label: str = "") -> LabelledCloud:
    """Read one cloud with labels.

    Args:
        path: .npy (n, 4 or more; with 7 columns or more, columns 4 to 6 are colours), .ply, .las or .laz.
        label: Column number (npy, from 0), or name of the property (ply, las). By default the last column, or the
            first of `LABEL_NAMES` that there is.

    Raises:
        InputError: Unreadable, no such label, labels that are not whole numbers, points that are not finite.
        MissingDependency: .las and .laz need laspy.
    """
    readers = {".npy": _read_npy, ".ply": _read_ply, ".las": _read_las, ".laz": _read_las}
    try:
        reader = readers[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path}: suffix {path.suffix!r} is not known; allowed: {', '.join(readers)}") from None
    try:
        cloud = reader(path, label)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    if not len(cloud.points) or not np.isfinite(cloud.points).all():
        raise InputError(f"{path} holds no points, or some that are not finite")
    values = np.asarray(cloud.values, dtype=np.float64)
    if not np.isfinite(values).all() or (values != np.round(values)).any() or np.abs(values).max() > 2**53:
        raise InputError(f"{path} has labels that are not whole numbers; name the label column")
    return cloud._replace(values=values.astype(np.int64))


def _read_npy(path: Path, label: str) -> LabelledCloud:
    array = parse_npy(read_regular(path))
    if array.ndim != 2 or array.shape[1] < 4 or array.dtype.kind not in "fiu":
        raise InputError(f"holds an array {array.shape} of type {array.dtype}; expected (n, 4 or more) numbers")
    check_upright(array)
    column = int(label) if label.lstrip("-").isdigit() else -1
    if label and (not label.lstrip("-").isdigit() or column % array.shape[1] < 3):
        raise InputError(f"has no label column {label!r}; columns 3 to {array.shape[1] - 1} may be labels")
    if not -array.shape[1] <= column < array.shape[1]:
        raise InputError(f"has no label column {label!r}; columns 3 to {array.shape[1] - 1} may be labels")
    colors = array[:, 3:6] if array.shape[1] >= ALL_COLUMNS else np.full((len(array), 3), 128)
    return LabelledCloud(array[:, :3].astype(np.float64), colors, array[:, column])


def _read_ply(path: Path, label: str) -> LabelledCloud:
    columns = ply_columns(path)
    points, vertex = vertex_positions(columns), columns["vertex"]
    rgb = ("red", "green", "blue")
    colors = np.stack([vertex[c] for c in rgb], axis=1) if all(c in vertex for c in rgb) else np.full(points.shape, 128)
    return LabelledCloud(points, colors, np.asarray(vertex[_label_name(vertex, label)]))


def _read_las(path: Path, label: str) -> LabelledCloud:
    las = open_las(path)
    names = dict.fromkeys(las.point_format.dimension_names)
    points = np.asarray(las.xyz, dtype=np.float64)
    colors = np.full(points.shape, 128)
    if {"red", "green", "blue"} <= set(names):
        colors = _las_colors(las)
    return LabelledCloud(points, colors, np.asarray(las[_label_name(names, label)]))


def _las_colors(las: Any) -> np.ndarray:
    """Colours (n, 3) in 0..255; las keeps 16 bits a colour."""
    colors = np.stack([np.asarray(las[name]) for name in ("red", "green", "blue")], axis=1)
    return colors // 256 if colors.max(initial=0) > 255 else colors


def _label_name(names: Mapping[str, object], label: str) -> str:
    """The property that holds the labels."""
    wanted = [label] if label else list(LABEL_NAMES)
    lower = {name.lower(): name for name in names}
    found = next((lower[name.lower()] for name in wanted if name.lower() in lower), None)
    if found is None or isinstance(names[found], tuple):
        raise InputError(f"has no property {' or '.join(wanted)}; it has {', '.join(names)[:200]}")
    return found


def read_scan(path: Path) -> Sample:
    """All points of a scan, labelled or not, as the file has them, with its colours; call it in a guarded process.

    Raises:
        InputError: Unreadable, no points, or some that are not finite.
    """
    if path.suffix.lower() in LAS_SUFFIXES:
        # Heights stand along z by its standard.
        las = open_las(path)
        colors = None
        if {"red", "green", "blue"} <= set(las.point_format.dimension_names):
            colors = _las_colors(las) / 255
        found = Sample(np.asarray(las.xyz, dtype=np.float64), "z", "")
    else:
        shape = read_shape(path)
        colors = shape.point_colors
        found = Sample(shape.vertices, shape.up, shape.turned_from, shape.faces is not None, shape.note)
    if colors is not None:
        found = found._replace(beside=from_colors(colors), known=("rgb",))
    if not len(found.points) or not np.isfinite(found.points).all():
        raise InputError("holds no points, or some that are not finite")
    return found

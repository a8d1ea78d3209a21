"""A user's own scenes: a folder of labelled point clouds and a list of classes -> a folder of rooms."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from act3d.data.rooms import COLUMNS, DESCRIPTION, UNLABELLED, write_description
from act3d.errors import ConfigError, InputError, MissingDependency
from act3d.files import atomic_path
from act3d.prepare.items import choose_test
from act3d.prepare.s3dis import RoomReport, SceneSummary, in_parallel
from act3d.readers.by_suffix import read_shape
from act3d.readers.ply import ply_columns

LABEL_NAMES = ("label", "class", "classification", "semantic", "scalar_label", "scalar_classification", "category")
# To z up: columns of the new axes, and their signs.
_TO_Z_UP = {"z": ([0, 1, 2], [1, 1, 1]), "y": ([0, 2, 1], [1, -1, 1]), "x": ([1, 2, 0], [1, 1, 1])}


class LabelledCloud(NamedTuple):
    """Points (n, 3), colors (n, 3) in 0..255 and label values (n,) as the file has them."""

    points: np.ndarray
    colors: np.ndarray
    values: np.ndarray


def read_classes(path: Path) -> dict[int, str]:
    """Label value -> class name, from lines "value name", or "name" alone, which are counted from 0.

    Empty lines and lines that start with # do not count.

    Raises:
        InputError: Missing, empty, a value or name twice, or both kinds of line.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    words = [line.split(maxsplit=1) for line in lines]
    numbered = [len(pair) == 2 and pair[0].lstrip("-").isdigit() for pair in words]
    if not lines or any(numbered) != all(numbered):
        raise InputError(f'{path} must hold one class a line: "name" on all lines, or "value name" on all')
    classes = {int(a): b for a, b in words} if all(numbered) else dict(enumerate(lines))
    if len(classes) < len(lines) or len(set(classes.values())) < len(lines) or len(lines) < 2:
        raise InputError(f"{path}: at least two classes are needed, and every value and name once")
    return classes


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
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        raise InputError(f"{path} has labels that are not whole numbers; name the label column")
    return cloud._replace(values=values.astype(np.int64))


def _read_npy(path: Path, label: str) -> LabelledCloud:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"is no readable .npy ({error})") from None
    if array.ndim != 2 or array.shape[1] < 4 or array.dtype.kind not in "fiu":
        raise InputError(f"holds an array {array.shape} of type {array.dtype}; expected (n, 4 or more) numbers")
    column = int(label) if label.lstrip("-").isdigit() else -1
    if label and (not label.lstrip("-").isdigit() or column % array.shape[1] < 3):
        raise InputError(f"has no label column {label!r}; columns 3 to {array.shape[1] - 1} may be labels")
    colors = array[:, 3:6] if array.shape[1] >= COLUMNS else np.full((len(array), 3), 128)
    return LabelledCloud(array[:, :3].astype(np.float64), colors, array[:, column])


def _read_ply(path: Path, label: str) -> LabelledCloud:
    vertex = ply_columns(path).get("vertex", {})
    if any(axis not in vertex for axis in "xyz"):
        raise InputError("has no vertices with x, y and z")
    points = np.stack([np.asarray(vertex[axis], dtype=np.float64) for axis in "xyz"], axis=1)
    rgb = ("red", "green", "blue")
    colors = np.stack([vertex[c] for c in rgb], axis=1) if all(c in vertex for c in rgb) else np.full(points.shape, 128)
    return LabelledCloud(points, colors, np.asarray(vertex[_label_name(vertex, label)]))


def _open_las(path: Path) -> Any:
    try:
        import laspy
    except ImportError:
        raise MissingDependency(f"{path}: las and laz need laspy; install act3d[las]") from None
    try:
        return laspy.read(path)
    except Exception as error:  # laspy and its decompressors raise whatever they like
        raise InputError(f"is no readable las or laz ({type(error).__name__}: {str(error)[:100]})") from None


def _read_las(path: Path, label: str) -> LabelledCloud:
    las = _open_las(path)
    names = dict.fromkeys(las.point_format.dimension_names)
    points = np.asarray(las.xyz, dtype=np.float64)
    colors = np.full(points.shape, 128)
    if {"red", "green", "blue"} <= set(names):
        colors = np.stack([np.asarray(las[name]) for name in ("red", "green", "blue")], axis=1)
        colors = colors // 256 if colors.max(initial=0) > 255 else colors  # las keeps 16 bits a colour
    return LabelledCloud(points, colors, np.asarray(las[_label_name(names, label)]))


def _label_name(names: Mapping[str, object], label: str) -> str:
    """The property that holds the labels."""
    wanted = [label] if label else list(LABEL_NAMES)
    lower = {name.lower(): name for name in names}
    found = next((lower[name.lower()] for name in wanted if name.lower() in lower), None)
    if found is None:
        raise InputError(f"has no property {' or '.join(wanted)}; it has {', '.join(names)}")
    return found


def read_scan(path: Path) -> np.ndarray:
    """Points (n, 3) float64 of a scan, labelled or not, as the file has them.

    Raises:
        InputError: Unreadable, no points, or some that are not finite.
    """
    if path.suffix.lower() in (".las", ".laz"):
        points = np.asarray(_open_las(path).xyz, dtype=np.float64)
    else:
        points = read_shape(path).vertices
    if not len(points) or not np.isfinite(points).all():
        raise InputError(f"{path} holds no points, or some that are not finite")
    return points


def to_z_up(points: np.ndarray, up: str) -> np.ndarray:
    """Points (n, 3) turned so that what stood along `up` stands along z."""
    axes, signs = _TO_Z_UP[up]
    return points[:, axes] * np.array(signs)


def _convert(
    task: tuple[str, Path], out: Path, classes: dict[int, str], label: str, up: str, scale: float
) -> RoomReport:
    """Write one room; values that are no class become unlabelled, and are reported."""
    name, path = task
    cloud = read_labelled(path, label)
    points = to_z_up(cloud.points, up) * scale
    values = np.array(list(classes))
    order = values.argsort()
    place = order[np.searchsorted(values[order], cloud.values).clip(max=len(values) - 1)]
    labels = np.where(values[place] == cloud.values, place, UNLABELLED)
    notes = []
    unknown = np.unique(cloud.values[labels == UNLABELLED], return_counts=True)
    if len(unknown[0]):
        shown = ", ".join(f"{value} ({count} points)" for value, count in zip(*unknown, strict=True))
        notes.append(f"{name}: labels that are no class, left unlabelled: {shown[:200]}")
    room = np.column_stack([points - points.min(axis=0), cloud.colors, labels]).astype(np.float32)
    with atomic_path(out / f"{name}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, room)
    return RoomReport(name, np.bincount(labels[labels >= 0], minlength=len(classes)), notes)


def prepare_scenes(
    source: Path,
    out: Path,
    classes: Path,
    label: str = "",
    up: str = "z",
    scale: float = 1.0,
    test_fraction: float = 0.2,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SceneSummary:
    """Turn a folder of labelled clouds into a folder of rooms that `act3d segment` reads.

    Args:
        source: Folder with .npy, .ply, .las or .laz files; subfolders `train` and `test` (also `val`) are splits.
        out: Folder to write.
        classes: Text file with the classes; see `read_classes`.
        label: The label's column or property; see `read_labelled`.
        up: Up axis of the files.
        scale: Factor to metres (or whatever unit the blocks are to be measured in).
        test_fraction: Share of the clouds that becomes the test split when folders name none.
        seed: Of that choice.
        workers: Processes.
        overwrite: Replace rooms that `out` holds already.
        progress: Called with (clouds done, clouds).

    Raises:
        InputError: Nothing there, a cloud that cannot be read, no point with a known label, or `out` holds something.
        ConfigError: No class list.
    """
    start = time.perf_counter()
    if not str(classes) or not classes.is_file():
        raise ConfigError(f"classes: {classes} is no file; give a text file with one class a line")
    table = read_classes(classes)
    if out.exists() and any(out.iterdir()) and not (overwrite and (out / DESCRIPTION).is_file()):
        raise InputError(f"{out} is not empty; choose another --out, or --overwrite true for a folder of rooms")
    paths = sorted(p for p in source.glob("**/*") if p.suffix.lower() in (".npy", ".ply", ".las", ".laz"))
    if not paths:
        raise InputError(f"{source} holds no .npy, .ply, .las or .laz files")
    tasks = [("_".join(path.relative_to(source).with_suffix("").parts), path) for path in paths]
    names = [name for name, _ in tasks]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{source}: two files would both become {twice}.npy")
    declared = {name: path.relative_to(source).parts[0] for name, path in tasks}
    if "test" in declared.values():
        splits = {name: "test" if split == "test" else "train" for name, split in declared.items()}
    else:
        chosen = choose_test(names, test_fraction, seed)
        splits = {name: "test" if name in chosen else "train" for name in names}
    for old in out.glob("*.npy") if overwrite else ():
        old.unlink()
    out.mkdir(parents=True, exist_ok=True)
    work = partial(_convert, out=out, classes=table, label=label, up=up, scale=scale)
    reports = []
    for report in in_parallel(work, tasks, workers):
        reports.append(report)
        if progress is not None:
            progress(len(reports), len(tasks))
    counts = {report.name: report.counts for report in reports}
    if not any(count.any() for count in counts.values()):
        raise InputError(f"none of the labels in {source} is in {classes} ({', '.join(map(str, list(table)[:10]))})")
    write_description(out, source.name or "scenes", list(table.values()), names, splits=splits, source=str(source))
    notes = [note for report in reports for note in report.notes]
    return SceneSummary(out, list(table.values()), counts, notes, time.perf_counter() - start)

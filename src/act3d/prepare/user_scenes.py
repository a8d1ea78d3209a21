"""A user's own scenes: a folder of labelled point clouds and a list of classes -> a folder of rooms."""

import importlib.util
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from act3d.data.reading import read_lines
from act3d.data.rooms import DESCRIPTION, UNLABELLED, write_description
from act3d.errors import ConfigError, InputError, MissingDependency
from act3d.files import atomic_path, move_into_place, output_names, printable, recover_folder
from act3d.installing import how_to_install
from act3d.prepare.copies import choose_test_shapes, copies_note, equal_files, joined, same_stems
from act3d.prepare.s3dis import RoomReport, SceneSummary, collect
from act3d.readers.find import find_files
from act3d.readers.guarded import limits_for
from act3d.readers.labelled import SUFFIXES, read_labelled
from act3d.readers.las import LAS_SUFFIXES

__all__ = ["prepare_scenes", "read_classes", "read_labelled", "to_z_up"]

# To z up: columns of the new axes, and their signs.
_TO_Z_UP = {"z": ([0, 1, 2], [1, 1, 1]), "y": ([0, 2, 1], [1, -1, 1]), "x": ([1, 2, 0], [1, 1, 1])}


def read_classes(path: Path) -> dict[int, str]:
    """Label value -> class name, from lines "value name", or "name" alone, which are counted from 0.

    Empty lines and lines that start with # do not count.

    Raises:
        InputError: Missing, empty, a value or name twice, or both kinds of line.
    """
    lines = [printable(line) for line in read_lines(path)]
    lines = [line for line in lines if not line.startswith("#")]
    words = [line.split(maxsplit=1) for line in lines]
    numbered = [len(pair) == 2 and pair[0].lstrip("-").isdigit() for pair in words]
    if not lines or any(numbered) != all(numbered):
        raise InputError(f'{path} must hold one class a line: "name" on all lines, or "value name" on all')
    classes = {int(a): b for a, b in words} if all(numbered) else dict(enumerate(lines))
    if len(classes) < len(lines) or len(set(classes.values())) < len(lines) or len(lines) < 2:
        raise InputError(f"{path}: at least two classes are needed, and every value and name once")
    return classes


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

    A cloud that cannot be read is a failure, and does not stop the others.

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
        overwrite: Replace a folder of rooms at `out`, once the new one is complete.
        progress: Called with (clouds done, clouds).

    Raises:
        InputError: Nothing there, no cloud that can be read, no point with a known label, or `out` holds something.
        ConfigError: No class list.
        MissingDependency: .las and .laz need laspy.
    """
    start = time.perf_counter()
    if not str(classes) or not classes.is_file():
        raise ConfigError(f"classes: {classes} is no file; give a text file with one class a line")
    table = read_classes(classes)
    recover_folder(out)
    if out.exists() and any(out.iterdir()) and not (overwrite and (out / DESCRIPTION).is_file()):
        raise InputError(f"{out} is not empty; choose another --out, or --overwrite true for a folder of rooms")
    paths = find_files(source, SUFFIXES, out).files
    if not paths:
        raise InputError(f"{source} holds no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} files")
    if any(path.suffix.lower() in LAS_SUFFIXES for path in paths) and not importlib.util.find_spec("laspy"):
        raise MissingDependency(f"las and laz need laspy: {how_to_install('las')}")
    relatives = [path.relative_to(source) for path in paths]
    printed = [printable(relative) for relative in relatives]
    rooms = [path.stem for path in output_names(printed, out, ".npy", flat=True)]
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    convert = partial(_convert, out=work, classes=table, label=label, up=up, scale=scale)
    tasks = list(zip(rooms, paths, strict=True))
    reports, failures = collect(convert, tasks, printed, lambda task: limits_for(task[1], workers), workers, progress)
    counts = {report.name: report.counts for report in reports}
    if not any(count.any() for count in counts.values()):
        raise InputError(f"none of the labels in {source} is in {classes} ({', '.join(map(str, list(table)[:10]))})")
    made = [place for place, room in enumerate(rooms) if room in counts]
    splits, copies = _splits([rooms[i] for i in made], [paths[i] for i in made], source, test_fraction, seed)
    suffixes = sorted({path.suffix.lower() for path in paths})
    write_description(
        work, printable(source.name) or "scenes", list(table.values()), list(counts), splits=splits, source=str(source),
        source_formats=dict.fromkeys(suffixes, up), scale=float(scale),  # how a model's other scans are to be read
    )  # fmt: skip
    move_into_place(work, out)
    notes = [note for report in reports for note in report.notes] + copies
    return SceneSummary(out, list(table.values()), counts, notes, time.perf_counter() - start, failures)


def _splits(
    rooms: list[str], paths: list[Path], source: Path, test_fraction: float, seed: int
) -> tuple[dict[str, str], list[str]]:
    """The split of every room, and a line on copies: "test" for those in a folder of that name, else a share, by seed.

    Copies of one cloud, and one cloud in files of several formats, get the same split.
    """
    relatives = [path.relative_to(source) for path in paths]
    copies = equal_files(paths)
    tests = {room for room, relative in zip(rooms, relatives, strict=True) if relative.parts[0] == "test"}
    chosen = not tests
    if chosen:
        none = [""] * len(rooms)
        clouds = joined([*same_stems(relatives, none), *copies], len(rooms))
        tests = choose_test_shapes(rooms, clouds, none, test_fraction, seed)
    splits = {room: "test" if room in tests else "train" for room in rooms}
    return splits, copies_note(rooms, copies, list(splits.values()), chosen)

"""S3DIS's raw annotations -> `stanford_indoor3d`: one array a room, in parallel."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from act3d.data.rooms import S3DIS_CLASSES, write_description
from act3d.errors import InputError
from act3d.files import atomic_path

RAW = "Stanford3dDataset_v1.2_Aligned_Version"
COLUMNS = 6
_ALLOWED = b"0123456789+-.eE \t\r\n"
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass
class RoomReport:
    """Result of one room: its name, points of each class, and repairs, one line each."""

    name: str
    counts: np.ndarray
    notes: list[str] = field(default_factory=list)


@dataclass
class SceneSummary:
    """Result of preparing rooms.

    Attributes:
        out: The folder of rooms.
        classes: Class names.
        counts: Points of every class, by room.
        notes: Repairs and further lines for the user.
        seconds: Wall time.
        failures: (name, reason) of every file that gave no room.
    """

    out: Path
    classes: list[str]
    counts: dict[str, np.ndarray]
    notes: list[str]
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)


def find_raw(root: Path) -> Path | None:
    """The folder that holds Area_1 ... at `root` or directly in it; None if there is none."""
    for base in (root, root / RAW):
        if any(path.is_dir() for path in base.glob("Area_*/*/Annotations")):
            return base
    return None


def raw_rooms(root: Path) -> list[Path]:
    """Folders Area_n/<room> that hold annotations, sorted.

    Raises:
        InputError: None there.
    """
    base = find_raw(root)
    if base is None:
        raise InputError(f"{root} does not hold Area_*/<room>/Annotations (looked in {RAW} too)")
    return sorted(path.parent for path in base.glob("Area_*/*/Annotations") if path.is_dir())


def parse_points(data: bytes, where: str) -> tuple[np.ndarray, list[str]]:
    """Lines "x y z r g b" -> (n, 6) float64, and a note on every line that had to be repaired or left out.

    One line of the released Area_5/hallway_6 has a control character between two numbers. A line with characters that
    no number has is tried without them, and with a blank in their place; if neither gives six numbers it is left out.
    """
    if not data.translate(None, _ALLOWED):
        try:
            return np.array(data.split(), dtype=np.float64).reshape(-1, COLUMNS), []
        except ValueError:
            pass  # some line is wrong: it is found below
    rows, notes = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        row = _six(line)
        if row is None:
            # The blank first: the stray character between two numbers replaced a blank.
            stray = rb"[^0-9+\-.eE \t\r\n]+"
            row = _six(re.sub(stray, b" ", line)) or _six(re.sub(stray, b"", line))
            done = "left out" if row is None else f"read as {' '.join(f'{value:g}' for value in row)}"
            notes.append(f"{where}, line {number}: {line[:60]!r} {done}")
        if row is not None:
            rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, COLUMNS), notes


def _six(line: bytes) -> list[float] | None:
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        return None
    return row if len(row) == COLUMNS and all(np.isfinite(row)) else None


def collect_room(folder: Path, out: Path, overwrite: bool = False) -> RoomReport:
    """Join the annotations of one raw room and write `out/Area_n_<room>.npy`: (n, 7) float32, shifted xyz, rgb, label.

    A room that is there already is kept, unless `overwrite`.

    Raises:
        InputError: A file cannot be read, or the room has no points.
    """
    name = f"{folder.parent.name}_{folder.name}"
    target = out / f"{name}.npy"
    if target.is_file() and not overwrite:
        labels = np.load(target, mmap_mode="r")[:, 6].astype(np.int64)
        return RoomReport(name, np.bincount(labels, minlength=len(S3DIS_CLASSES)), [f"{name}: was there already"])
    arrays, notes = [], []
    for path in sorted((folder / "Annotations").glob("*.txt")):
        cls = path.stem.split("_")[0]
        if cls not in S3DIS_CLASSES:
            notes.append(f"{name}/{path.name}: class {cls!r} is not one of the 13: clutter")
            cls = "clutter"
        try:
            points, repairs = parse_points(path.read_bytes(), f"{name}/{path.name}")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        notes += repairs
        arrays.append(np.column_stack([points, np.full(len(points), S3DIS_CLASSES.index(cls))]))
    room = np.concatenate(arrays) if arrays else np.empty((0, COLUMNS + 1))
    if not len(room):
        raise InputError(f"{folder}: its annotations hold no points")
    room[:, :3] -= room[:, :3].min(axis=0)
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.save(file, room.astype(np.float32))
    return RoomReport(name, np.bincount(room[:, 6].astype(np.int64), minlength=len(S3DIS_CLASSES)), notes)


def prepare_s3dis(
    source: Path,
    out: Path,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    name: str = "s3dis",
    licence: str = "S3DIS terms",
) -> SceneSummary:
    """Convert all rooms of the raw release at `source` into the folder `out`.

    Args:
        source: `Stanford3dDataset_v1.2_Aligned_Version`, or the folder that holds it.
        out: Folder of rooms to write.
        workers: Processes.
        overwrite: Write rooms again that are there already.
        progress: Called with (rooms done, rooms).

    Raises:
        InputError: No raw rooms, or one that cannot be read.
    """
    import time

    start = time.perf_counter()
    rooms = raw_rooms(source)
    out.mkdir(parents=True, exist_ok=True)
    reports = []
    for report in in_parallel(partial(collect_room, out=out, overwrite=overwrite), rooms, workers):
        reports.append(report)
        if progress is not None:
            progress(len(reports), len(rooms))
    counts = {report.name: report.counts for report in reports}
    write_description(
        out, name, S3DIS_CLASSES, list(counts), unit="m", licence=licence, source=str(source),
        points=int(sum(c.sum() for c in counts.values())),
    )  # fmt: skip
    notes = [note for report in reports for note in report.notes]
    return SceneSummary(out, S3DIS_CLASSES, counts, notes, time.perf_counter() - start)


def in_parallel(work: Callable[[Task], Result], tasks: list[Task], workers: int) -> Iterator[Result]:
    """`work` on each task, in order, in this process or in several."""
    if workers <= 1 or len(tasks) <= 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(min(workers, len(tasks), os.cpu_count() or 1)) as pool:
        yield from pool.map(work, tasks)

"""S3DIS's raw annotations -> `stanford_indoor3d`: one array a room; each is read in a process that limits protect."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from act3d.data.reading import open_npy
from act3d.data.rooms import S3DIS_CLASSES, write_description
from act3d.errors import InputError
from act3d.files import atomic_path, output_names, printable
from act3d.readers.guarded import Limits, Lost, limits_of, read_all
from act3d.readers.limits import read_regular

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
    rooms = [path.parent for path in base.glob("Area_*/*/Annotations") if path.is_dir()]
    return sorted(room for room in rooms if not room.name.startswith("."))  # those are left by what was killed


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


def collect_room(task: tuple[str, Path], out: Path, overwrite: bool = False) -> RoomReport:
    """Join the annotations of one raw room and write `out/Area_n_<room>.npy`: (n, 7) float32, shifted xyz, rgb, label.

    A room that is there already is kept, unless `overwrite`.

    Args:
        task: The room's name and its raw folder.

    Raises:
        InputError: A file cannot be read, or the room has no points.
    """
    name, folder = task
    target = out / f"{name}.npy"
    if target.is_file() and not overwrite:
        labels = open_npy(target)[:, 6].astype(np.int64)
        return RoomReport(name, np.bincount(labels, minlength=len(S3DIS_CLASSES)), [f"{name}: was there already"])
    arrays, notes = [], []
    for path in _annotations(folder):
        cls = path.stem.split("_")[0]
        if cls not in S3DIS_CLASSES:
            notes.append(f"{name}/{path.name}: class {cls!r} is not one of the 13: clutter")
            cls = "clutter"
        try:
            points, repairs = parse_points(read_regular(path), f"{name}/{path.name}")
        except (OSError, InputError) as error:
            raise InputError(f"{path.name}: {error}") from None
        notes += repairs
        arrays.append(np.column_stack([points, np.full(len(points), S3DIS_CLASSES.index(cls))]))
    room = np.concatenate(arrays) if arrays else np.empty((0, COLUMNS + 1))
    if not len(room):
        raise InputError("its annotations hold no points")
    room[:, :3] -= room[:, :3].min(axis=0)
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.save(file, room.astype(np.float32))
    return RoomReport(name, np.bincount(room[:, 6].astype(np.int64), minlength=len(S3DIS_CLASSES)), notes)


def _annotations(folder: Path) -> list[Path]:
    return sorted((folder / "Annotations").glob("*.txt"))


def _limits(folder: Path, workers: int) -> Limits:
    return limits_of(sum(path.stat().st_size for path in _annotations(folder) if path.is_file()), workers)


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

    A room that cannot be read is a failure, and does not stop the others.

    Args:
        source: `Stanford3dDataset_v1.2_Aligned_Version`, or the folder that holds it.
        out: Folder of rooms to write.
        workers: Processes.
        overwrite: Write rooms again that are there already.
        progress: Called with (rooms done, rooms).

    Raises:
        InputError: No raw rooms, or none that can be read.
    """
    start = time.perf_counter()
    folders = raw_rooms(source)
    out.mkdir(parents=True, exist_ok=True)
    named = [f"{folder.parent.name}_{folder.name}.txt" for folder in folders]
    rooms = [path.stem for path in output_names([printable(room) for room in named], out, ".npy")]
    tasks = list(zip(rooms, folders, strict=True))
    work = partial(collect_room, out=out, overwrite=overwrite)
    reports, failures = collect(work, tasks, rooms, lambda task: _limits(task[1], workers), workers, progress)
    counts = {report.name: report.counts for report in reports}
    write_description(
        out, name, S3DIS_CLASSES, list(counts), unit="m", licence=licence, source=str(source),
        points=int(sum(c.sum() for c in counts.values())),
    )  # fmt: skip
    notes = [note for report in reports for note in report.notes]
    return SceneSummary(out, S3DIS_CLASSES, counts, notes, time.perf_counter() - start, failures)


def collect(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    names: Sequence[str],
    limits: Callable[[Task], Limits],
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Result], list[tuple[str, str]]]:
    """Do `work` on every room, in processes that limits protect.

    Args:
        work: Importable by name; see `act3d.readers.guarded.read_all`.
        tasks: One a room.
        names: What failures call them.
        limits, workers: See `read_all`.
        progress: Called with (rooms done, rooms).

    Returns:
        What it returned, in order, and (name, reason) of the rooms that gave nothing.

    Raises:
        InputError: No room gave anything.
    """
    made: list[Result] = []
    failures: list[tuple[str, str]] = []
    with closing(read_all(work, tasks, limits, workers)) as results:
        for done, (name, result) in enumerate(zip(names, results, strict=True), start=1):
            if isinstance(result, Lost):
                failures.append((name, result.reason))
            else:
                made.append(result)
            if progress is not None:
                progress(done, len(tasks))
    if not made:
        raise InputError(f"none of {len(tasks)} files gave a room; the first: {': '.join(failures[0])}")
    return made, failures

"""Rooms made of real furniture models, scanned, and written in S3DIS's own layout.

Test material with true labels; numbers on it say nothing about S3DIS: shells are boxes, and colours are arbitrary.
"""

import csv
import io
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from act3d.data.rooms import S3DIS_FOLDER, S3DIS_HELD_OUT
from act3d.errors import ConfigError, InputError
from act3d.files import write_json, write_text
from act3d.prepare.furniture import Model, list_models
from act3d.prepare.items import random_for
from act3d.prepare.room_design import KINDS, Design, Designer
from act3d.prepare.s3dis import RAW, SceneSummary, collect, prepare_s3dis
from act3d.prepare.scanner import scan
from act3d.readers.guarded import limits_of

AREAS = 6
BYTES_A_POINT = 200  # of a room that is made count as so many that are read: ten times what its text takes
SETTINGS = "settings.json"
ATTRIBUTION = "furniture.csv"
LICENCE = "furniture: CC0-1.0 and CC-BY-3.0, see furniture.csv"


class ScannedRoom(NamedTuple):
    """Points (n, 3), colors (n, 3) uint8 and the thing each point lies on (n,), of a design."""

    design: Design
    points: np.ndarray
    colors: np.ndarray
    things: np.ndarray


class Task(NamedTuple):
    """One room to make: its number decides area, kind and, with the seed, everything else."""

    number: int
    name: str
    kind: str
    area: int


def tasks(rooms: int) -> list[Task]:
    """Rooms distributed over six areas and six kinds; kinds are counted within an area, as in S3DIS."""
    seen: dict[tuple[int, str], int] = {}
    made = []
    for number in range(rooms):
        area, kind = number % AREAS + 1, KINDS[(number // AREAS + number) % len(KINDS)]
        seen[area, kind] = seen.get((area, kind), 0) + 1
        made.append(Task(number, f"{kind}_{seen[area, kind]}", kind, area))
    return made


def make_room(task: Task, models: list[Model], points: int, seed: int) -> ScannedRoom:
    """Design a room and scan it from two to four places: about `points` points, fewer where rays leave by a door.

    Area_5, which is held out by default, is furnished with models of the test split, the others with the rest.
    """
    rng = random_for(seed, f"room {task.number}")
    split = "test" if f"Area_{task.area}" == S3DIS_HELD_OUT else "train"
    design = Designer(task.kind, [model for model in models if model.split == split], rng).design()
    triangles = np.concatenate([thing.triangles for thing in design.things])
    owner = np.repeat(np.arange(len(design.things)), [len(thing.triangles) for thing in design.things])
    eyes = _eyes(design, rng)
    found, lit, things = [], [], []
    for eye in eyes:
        seen = scan(triangles, eye, max(1, round(points / 0.97 / len(eyes))), rng)
        found.append(seen.points)
        lit.append(seen.cosines)
        things.append(owner[seen.triangles])
    place = np.concatenate(things)
    tint = np.stack([thing.color for thing in design.things])[place]
    shade = 0.6 + 0.4 * np.concatenate(lit)[:, None]
    colors = (tint * shade + rng.normal(size=tint.shape) * 6).clip(0, 255).astype(np.uint8)
    return ScannedRoom(design, np.concatenate(found), colors, place)


def _eyes(design: Design, rng: np.random.Generator) -> list[np.ndarray]:
    """Where the scanner stands: on free floor, at the height of a tripod."""
    width, depth, _ = design.size
    eyes: list[np.ndarray] = []
    wanted = int(rng.integers(2, 5))
    for _ in range(60):
        at = rng.uniform([0.4, 0.4], [width - 0.4, depth - 0.4])
        free = all(not (x0 - 0.3 < at[0] < x1 + 0.3 and y0 - 0.3 < at[1] < y1 + 0.3) for x0, y0, x1, y1 in design.taken)
        if free and all(np.linalg.norm(eye[:2] - at) > 1.0 for eye in eyes):
            eyes.append(np.array([*at, rng.uniform(1.4, 1.7)]))
        if len(eyes) == wanted:
            break
    return eyes or [np.array([width / 2, depth / 2, 1.6])]


def write_raw(room: ScannedRoom, task: Task, root: Path) -> None:
    """Write a room as S3DIS does: Area_n/<room>/Annotations/<class>_<k>.txt, "x y z r g b" a line, in metres.

    The folder appears whole or not at all.
    """
    final = root / f"Area_{task.area}" / task.name
    work = final.with_name(f".{task.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    (work / "Annotations").mkdir(parents=True)
    offset = np.array([17.0 * task.area, 9.0 * task.number, 0.0])  # rooms of a building do not overlap
    count: dict[str, int] = {}
    order = np.argsort(room.things, kind="stable")
    ends = np.cumsum(np.bincount(room.things, minlength=len(room.design.things)))
    for number, thing in enumerate(room.design.things):
        mine = order[(ends[number - 1] if number else 0) : ends[number]]
        if not len(mine):
            continue
        count[thing.cls] = count.get(thing.cls, 0) + 1
        rows = np.column_stack([room.points[mine] + offset, room.colors[mine]])
        text = io.StringIO()
        np.savetxt(text, rows, fmt="%.3f %.3f %.3f %d %d %d")
        write_text(work / "Annotations" / f"{thing.cls}_{count[thing.cls]}.txt", text.getvalue())
    shutil.rmtree(final, ignore_errors=True)
    work.rename(final)


def _make(task: Task, models: list[Model], points: int, seed: int, root: Path) -> list[str]:
    room = make_room(task, models, points, seed)
    write_raw(room, task, root)
    return sorted({model.name for model in room.design.models})


def prepare_rooms(
    source: Path,
    out: Path,
    rooms: int = 30,
    points: int = 150_000,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SceneSummary:
    """Build rooms out of the furniture collection, scan them, and convert them as S3DIS is converted.

    Args:
        source: Folder with Sweet Home 3D's .sh3f archives, or one above it.
        out: Folder to write: the raw layout, `stanford_indoor3d` beside it, and `furniture.csv` with the attributions.
        rooms: How many; every sixth lies in Area_5, which is held out and has furniture of its own.
        points: Points of a room, about.
        seed: Decides everything.
        workers: Processes. The result does not depend on them.
        overwrite: Replace what another call with other settings wrote.
        progress: Called with (rooms done, rooms).

    A room that cannot be made is a failure, and does not stop the others.

    Raises:
        InputError: No furniture there, no room that can be made, or `out` holds something else.
        ConfigError: A number out of its bounds.
    """
    if rooms < 1 or points < 1000:
        raise ConfigError(f"rooms is {rooms} and room_points {points}; they must be at least 1 and 1000")
    start = time.perf_counter()
    archives = [source] if source.suffix == ".sh3f" else sorted(source.glob("**/*.sh3f"))
    if not archives:
        raise InputError(f"{source} holds no .sh3f archive; give Sweet Home 3D's folder furniture or one above it")
    models = list_models(archives)
    settings = {"rooms": rooms, "points": points, "seed": seed, "models": len(models)}
    _claim(out, settings, overwrite)
    todo = tasks(rooms)
    work = partial(_make, models=models, points=points, seed=seed, root=out / RAW)
    limits = limits_of(points * BYTES_A_POINT, workers)
    names = [f"Area_{task.area}_{task.name}" for task in todo]
    made, failures = collect(work, todo, names, lambda task: limits, workers, progress)
    used = {name for names in made for name in names}
    _attribute(out, [model for model in models if model.name in used])
    summary = prepare_s3dis(out / RAW, out / S3DIS_FOLDER, workers, True, None, "synthetic-rooms", LICENCE)
    summary.notes.append(f"furniture: {len(used)} models, attributed in {out / ATTRIBUTION}")
    summary.failures = [*failures, *summary.failures]
    summary.seconds = time.perf_counter() - start
    return summary


def _claim(out: Path, settings: dict[str, int], overwrite: bool) -> None:
    """Prepare the folder `out`: refuse to overwrite other data, remove what an unfinished or replaced run left."""
    mark = out / SETTINGS
    ours = mark.is_file()
    if out.exists() and any(out.iterdir()) and not ours:
        raise InputError(f"{out} exists and holds no synthetic rooms; choose another --out")
    if ours and not overwrite and mark.read_text(encoding="utf-8").split() != _text(settings).split():
        raise InputError(f"{out} holds rooms of other settings; choose another --out, or --overwrite true")
    for name in (RAW, S3DIS_FOLDER):
        shutil.rmtree(out / name, ignore_errors=True)
    write_json(mark, settings)


def _text(settings: dict[str, int]) -> str:
    import json

    return json.dumps(settings, indent=2)


def _attribute(out: Path, models: list[Model]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "class", "creator", "licence"])
    writer.writerows([model.name, model.cls, model.creator, model.licence] for model in models)
    write_text(out / ATTRIBUTION, text.getvalue())

"""Rooms: clouds of many points with a label each, in folders as S3DIS's users lay them out, and their blocks.

A folder of rooms holds `<room>.npy`, each (n, 7): x, y, z in metres from the room's lowest corner (z up), red, green,
blue, label. `scenes.json` beside them names the classes; without it the names `Area_*` mean S3DIS and its 13 classes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from act3d.channel_values import from_colors, recast
from act3d.data.description import check_file, check_seal, checksum, sealed
from act3d.data.layout import Found, Layout, Part
from act3d.data.reading import open_npy
from act3d.errors import InputError
from act3d.files import read_json, write_json

DESCRIPTION = "scenes.json"
FORMAT = "act3d-scenes"
S3DIS_FOLDER = "stanford_indoor3d"
S3DIS_CLASSES = [
    "ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa", "bookcase", "board",
    "clutter",
]  # fmt: skip
S3DIS_HELD_OUT = "Area_5"
UNLABELLED = -1
COLUMNS = 7
ROOM_CHANNELS = ("rgb",)  # what points have beside x, y and z, see `act3d.channels`


@dataclass
class Room:
    """One room: points (n, 3) float32, colors (n, 3) uint8, labels (n,) int16 with -1 = unlabelled."""

    name: str
    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray

    def with_channels(self, channels: Sequence[str], chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Points (m, 3 + F) float32 at places `chosen`, with their colours where "rgb" is asked for."""
        points = self.points[chosen]
        if not channels:
            return points
        colors = from_colors(self.colors[chosen].astype(np.float32) / 255)
        return np.concatenate([points, recast(colors, ROOM_CHANNELS, channels)], axis=1)


@dataclass
class RoomFolder:
    """A folder of rooms.

    Attributes:
        root: The folder.
        name: The dataset's name.
        classes: Class names; a label is a place in this list.
        rooms: Names of all rooms, sorted.
        splits: Split of every room that declares one.
        fingerprint: Of names, sizes and, where a description has it, content.
        meta: JSON-able facts: licence, unit, source ...
        checksums: SHA-256 of the files of rooms, where the description has them.
    """

    root: Path
    name: str
    classes: list[str]
    rooms: list[str]
    splits: dict[str, str]
    fingerprint: str
    meta: dict[str, Any]
    checksums: dict[str, str] = field(default_factory=dict)

    def path(self, room: str) -> Path:
        """The room's file."""
        return self.root / f"{room}.npy"

    def choose(self, held_out: str = "") -> tuple[list[str], list[str]]:
        """Rooms to train on and rooms to test on.

        Args:
            held_out: Names, or beginnings of names up to an underscore, of the test rooms, joined by "+": "Area_5",
                "Area_1+Area_3", "kitchen_2". By default Area_5 of S3DIS, or the split "test" that the folder declares.

        Raises:
            InputError: Nothing is left on one side.
        """
        if not held_out and self.splits:
            test = [room for room in self.rooms if self.splits.get(room) == "test"]
            shown = "the declared split"
        else:
            shown = held_out or S3DIS_HELD_OUT
            test = []
            for begin in shown.split("+"):
                found = [room for room in self.rooms if room == begin or room.startswith(f"{begin}_")]
                if not found:
                    raise InputError(f"{self.root} has no room {begin!r} or {begin}_...; it has {_some(self.rooms)}")
                test += found
        train = [room for room in self.rooms if room not in set(test)]
        for kind, rooms in (("train", train), ("test", test)):
            if not rooms:
                raise InputError(f"{self.root}: {shown} leaves no room to {kind} on, of {len(self.rooms)}")
        return train, sorted(set(test))

    def read(self, room: str) -> Room:
        """Read one room, after checking its file against its checksum; see `read_room`."""
        path = self.path(room)
        check_file(path, self.checksums.get(path.name))
        return read_room(path, len(self.classes))


def find_rooms(root: str | Path) -> Path | None:
    """The folder of rooms at or directly below `root`, or None."""
    for folder in (Path(root), Path(root) / S3DIS_FOLDER):
        if (folder / DESCRIPTION).is_file() or (folder.is_dir() and any(folder.glob("Area_*.npy"))):
            return folder
    return None


def open_rooms(root: str | Path) -> RoomFolder:
    """Open a folder of rooms.

    Raises:
        InputError: No such folder, damaged description, no rooms.
    """
    folder = find_rooms(root)
    if folder is None:
        raise InputError(
            f"{root} holds no rooms: neither {DESCRIPTION} nor {S3DIS_FOLDER}/Area_*.npy; make them by "
            "act3d prepare --format s3dis, synthetic-rooms or scenes"
        )
    info: dict[str, Any] = {"name": "s3dis", "classes": S3DIS_CLASSES, "licence": "S3DIS terms", "unit": "m"}
    path = folder / DESCRIPTION
    if path.is_file():
        info = _read_description(path)
    rooms = sorted(file.stem for file in folder.glob("*.npy"))
    if not rooms:
        raise InputError(f"{folder} holds no rooms (*.npy)")
    missing = sorted(set(info.get("rooms", [])) - set(rooms))
    if missing:
        raise InputError(f"{folder} is not complete: {_some(missing)} of {len(info['rooms'])} rooms missing")
    sizes = [f"{room} {(folder / f'{room}.npy').stat().st_size}" for room in rooms]
    content = [f"{name} {value}" for name, value in sorted(info.get("checksums", {}).items())]
    listed = hashlib.sha256("\n".join([*info["classes"], *sizes, *content]).encode())
    kept = {key: info.get(key) for key in ("licence", "unit", "source", "scale", "source_formats")}
    meta = {**kept, "classes": list(info["classes"]), "up": "z", "source_up": "z", "normalization": "none"}
    return RoomFolder(
        folder, info.get("name", folder.name), list(info["classes"]), rooms, dict(info.get("splits", {})),
        listed.hexdigest()[:16], meta, dict(info.get("checksums", {})),
    )  # fmt: skip


def _read_description(path: Path) -> dict[str, Any]:
    info = read_json(path)
    if not isinstance(info, dict) or info.get("format") != FORMAT or not info.get("classes"):
        raise InputError(f"{path} does not describe rooms (format {FORMAT!r} and classes expected)")
    check_seal(path, info)
    kinds: dict[str, Any] = {"name": str, "classes": list, "rooms": list, "splits": dict, "checksums": dict}
    kinds |= {"source_formats": dict, "scale": float}
    wrong = [key for key, kind in kinds.items() if not isinstance(info.get(key, kind()), kind)]
    names = [name for key in ("classes", "rooms") if key not in wrong for name in info.get(key, [])]
    if wrong or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} is damaged: {wrong[0] if wrong else 'a name'!r} is not what it should be")
    return info


def write_description(folder: Path, name: str, classes: list[str], rooms: list[str], **facts: Any) -> None:
    """Write `scenes.json`, which marks a folder of rooms as complete; the rooms must exist already."""
    about = {"format": FORMAT, "version": 1, "name": name, "classes": classes, "rooms": sorted(rooms), **facts}
    files = {f"{room}.npy": folder / f"{room}.npy" for room in sorted(rooms)}
    checksums = {name: checksum(file) for name, file in files.items() if file.is_file()}
    write_json(folder / DESCRIPTION, sealed({**about, "checksums": checksums}))


def read_room(path: Path, classes: int) -> Room:
    """Read `<room>.npy`.

    Raises:
        InputError: Missing, damaged, not (n, 7), coordinates that are not finite, a label that is no class.
    """
    array = open_npy(path)
    if array.ndim != 2 or array.shape[1] != COLUMNS or not len(array):
        raise InputError(f"{path} has shape {array.shape}; expected (points, {COLUMNS}): x y z r g b label")
    if array.dtype.kind not in "iuf":
        raise InputError(f"{path} holds {array.dtype}, no numbers")
    points = np.ascontiguousarray(array[:, :3], dtype=np.float32)
    labels = array[:, 6].astype(np.int16)
    if not np.isfinite(points).all():
        raise InputError(f"{path} has coordinates that are not finite")
    if labels.min() < UNLABELLED or labels.max() >= classes:
        raise InputError(f"{path} has label {max(int(labels.max()), -int(labels.min()))}; there are {classes} classes")
    return Room(path.stem, points, array[:, 3:6].clip(0, 255).astype(np.uint8), labels)


class Grid:
    """Points sorted by square cells of the ground plane, to find those above a rectangle without looking at all.

    Args:
        points: (n, 2 or more).
        cell: Width of a cell, in the points' unit.
    """

    def __init__(self, points: np.ndarray, cell: float) -> None:
        ground = points[:, :2]
        self.low, self.cell = ground.min(axis=0).astype(np.float64), cell
        self.size = ((ground.max(axis=0) - self.low) / cell).astype(np.int64) + 1
        place = self._cells(ground)
        key = place[:, 0] * self.size[1] + place[:, 1]
        self.order = np.argsort(key, kind="stable")
        self.starts = np.searchsorted(key[self.order], np.arange(int(self.size.prod()) + 1))
        self.ground = ground[self.order]

    def _cells(self, ground: np.ndarray) -> np.ndarray:
        return np.clip(((ground - self.low) / self.cell).astype(np.int64), 0, self.size - 1)

    def inside(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Places (m,) of the points with low <= (x, y) <= high."""
        (x0, y0), (x1, y1) = self._cells(np.stack([low, high]))
        # The cells of one x are contiguous: a slice for each.
        slices = [
            slice(self.starts[x * self.size[1] + y0], self.starts[x * self.size[1] + y1 + 1]) for x in range(x0, x1 + 1)
        ]
        ground = np.concatenate([self.ground[s] for s in slices])
        order = np.concatenate([self.order[s] for s in slices])
        return order[((ground >= low) & (ground <= high)).all(axis=1)]


def class_weights(counts: np.ndarray) -> np.ndarray:
    """(largest frequency / frequency)^(1/3) of every class, from its points; 0 for one that never occurs."""
    counts = np.asarray(counts, dtype=np.float64)
    if not counts.any():
        raise InputError("no point has a label")
    return np.where(counts > 0, np.cbrt(counts.max() / np.maximum(counts, 1)), 0.0).astype(np.float32)


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _check(folder: Path) -> list[Found]:
    """Rooms for scene segmentation, area by area; every room is read. Classes count points here."""
    found = Found("rooms", command="segment", unit="rooms")
    try:
        opened = open_rooms(folder)
    except InputError as error:
        found.problems.append(str(error))
        return [found]
    found.variant, found.fingerprint = opened.name, opened.fingerprint
    for room in opened.rooms:
        path = opened.path(room)
        area = opened.splits.get(room) or "_".join(room.split("_")[:2])
        try:
            read = read_room(path, len(opened.classes))
        except InputError as error:
            found.problems.append(str(error))
            continue
        part = found.parts.setdefault(area, Part(0, len(read.points)))
        part.clouds, part.points = part.clouds + 1, min(part.points, len(read.points))
        for label, count in zip(*np.unique(read.labels, return_counts=True), strict=True):
            name = opened.classes[label] if label >= 0 else ""
            part.classes[name] = part.classes.get(name, 0) + int(count)
        if opened.checksums.get(path.name, mark := checksum(path)) != mark:
            found.problems.append(f"{path} was changed after it was written (its checksum differs)")
    found.notes.append("classes count points, and `points` is the smallest room's")
    return [found]


LAYOUT = Layout("rooms", find_rooms, None, _check, instead="segment them by act3d segment")

"""The formats of `act3d prepare` whose result is a folder of rooms."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from act3d.data.rooms import open_rooms
from act3d.errors import ConfigError
from act3d.readers.up_axis import SAID_UP

if TYPE_CHECKING:
    from act3d.prepare.s3dis import SceneSummary


def prepare_rooms(
    kind: str,
    source: Path,
    out: Path,
    *,
    classes: Path | None,
    label: str,
    up: str,
    scale: float | None,
    test_fraction: float,
    rooms: int,
    room_points: int,
    workers: int,
    seed: int,
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> "SceneSummary":
    """Make rooms of one kind: "s3dis", "synthetic-rooms" or "scenes"; see `act3d.commands.prepare.prepare`."""
    from act3d.prepare import s3dis, synthetic_rooms, user_scenes

    if kind != "scenes" and (up not in ("auto", "z") or scale is not None):
        raise ConfigError(f"up and scale have no meaning for --format {kind}: its rooms are in metres, z up")
    if kind == "s3dis":
        return s3dis.prepare_s3dis(source, out, workers, overwrite, progress)
    if kind == "synthetic-rooms":
        return synthetic_rooms.prepare_rooms(source, out, rooms, room_points, seed, workers, overwrite, progress)
    if classes is None:
        raise ConfigError("classes: missing; --format scenes needs a text file with one class a line")
    axis = "z" if up == "auto" else up
    factor = 1.0 if scale is None else scale
    made = user_scenes.prepare_scenes(
        source, out, classes, label, axis, factor, test_fraction, seed, workers, overwrite, progress
    )
    silent = [suffix for suffix in open_rooms(out).meta["source_formats"] if suffix not in SAID_UP]
    if up == "auto" and silent:
        made.notes.append(f"{', '.join(silent)}: which axis is up is not said; z is taken (else --up x, y or z)")
    return made

"""`act3d prepare`: raw meshes and point clouds -> a packed dataset."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from act3d.errors import ConfigError, InputError
from act3d.files import one_writer, plain_path
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.preparing import PrepareSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from act3d.prepare.items import Source
    from act3d.prepare.own_labels import PartNames
    from act3d.prepare.pack import Summary
    from act3d.prepare.s3dis import SceneSummary
    from act3d.readers.engine import Engine

PACKAGES = {"sweethome": "sweethome3d", "ldraw": "ldraw"}  # word in a Debian package's name -> format
SCENE_FORMATS = ("s3dis", "synthetic-rooms", "scenes")


@command
def prepare(settings: PrepareSettings) -> "Summary | SceneSummary":
    """Turn a folder of meshes and point clouds into a dataset ready for training.

    Returns:
        Counts per class and split, failures, time and fingerprint.

    Raises:
        InputError: no model found, or out would be lost.
        ConfigError: a setting out of its bounds.
    """
    source, out = Path(settings.source), Path(settings.out)
    if not source.exists():
        raise InputError(f"{source} does not exist")
    if plain_path(out) == plain_path(source):
        raise InputError(f"--out {out} is the source itself; choose another folder")
    with tempfile.TemporaryDirectory(prefix="act3d-") as temporary, one_writer(out):
        kind = _format_of(source) if settings.format == "auto" else settings.format
        root = _unpacked(source, kind, Path(temporary)) if source.suffix == ".deb" else source
        made = _rooms(root, out, kind, settings) if kind in SCENE_FORMATS else _shapes(root, out, kind, settings)
    say(f"what they look like as they are stored, and odd ones: {_page(out, kind)}")
    return made


def _rooms(root: Path, out: Path, kind: str, settings: PrepareSettings) -> "SceneSummary":
    from act3d.prepare.rooms import prepare_rooms
    from act3d.progress import Progress

    if settings.channels != "xyz":
        raise ConfigError("channels: rooms always keep their colours; leave this setting out")
    if settings.captions or settings.parts or settings.assembly != "one":
        raise ConfigError("captions, parts and assembly have no meaning for rooms; leave them out")
    if settings.extend:
        raise ConfigError("extend: is for shapes; rooms are prepared whole, by --overwrite true")
    if settings.engine != "local":
        raise ConfigError(f"engine: {settings.engine!r} prepares shapes; rooms are made on one machine; leave it out")
    classes = Path(settings.classes) if settings.classes else None
    with Progress(text="preparing", unit="rooms") as progress:
        made = prepare_rooms(
            kind, root, out, classes=classes, label=settings.label, up=settings.up, scale=settings.scale,
            test_fraction=settings.test_fraction, rooms=settings.rooms, room_points=settings.room_points,
            workers=settings.workers or os.cpu_count() or 1, seed=settings.seed, overwrite=settings.overwrite,
            progress=progress.update,
        )  # fmt: skip
    print_rooms(made)
    return made


def _shapes(root: Path, out: Path, kind: str, settings: PrepareSettings) -> "Summary":
    from act3d.channels import parse_channels
    from act3d.prepare.pack import pack
    from act3d.progress import Progress
    from act3d.readers.engine import opened

    if settings.extend and settings.overwrite:
        raise ConfigError("extend: keeps what overwrite would read anew; give one of them")
    channels = parse_channels(settings.channels, "channels")
    found = _list(root, kind, settings)
    if settings.up != "auto":
        found.up, found.up_asked = settings.up, True
    with opened(settings.engine, settings.workers or 0, root) as engine:
        names, lines = _own_labels(found, kind, settings, engine)
        found.notes += lines
        with Progress(text="preparing", unit="models") as progress:
            summary = pack(
                found, out, settings.points, settings.seed, settings.dtype, settings.normalization,
                engine, settings.overwrite, str(settings.source), progress=progress.update, channels=channels,
                part_names=names, extend=settings.extend,
            )  # fmt: skip
    print_summary(summary)
    return summary


def _own_labels(
    found: "Source", kind: str, settings: PrepareSettings, engine: "Engine"
) -> "tuple[PartNames | None, list[str]]":
    """Give shapes what the user says of them: pieces of assemblies, captions, part labels; and lines about it."""
    from act3d.prepare import own_labels

    if (settings.parts or settings.assembly == "each") and kind != "folder":
        option = "parts" if settings.parts else "assembly"
        raise ConfigError(f"{option}: is for folders of your own; format {kind} says itself what its shapes are")
    lines: list[str] = []
    if settings.assembly == "each":
        files = len(found.items)
        found.items = own_labels.each_piece(found.items, engine)
        lines.append(f"{len(found.items)} pieces of {files} files; pieces of a file get one split")
    if settings.captions:
        found.items, line = own_labels.add_captions(found.items, str(settings.captions))
        lines.append(line)
    names = own_labels.part_names(str(settings.parts)) if settings.parts else None
    if names is not None:
        found.parts = own_labels.vocabulary_of(found.items, names, engine)
        lines.append(f"parts: {', '.join(found.parts[:12])}" + (" ..." if len(found.parts) > 12 else ""))
    return names, lines


def _page(out: Path, kind: str) -> Path:
    """Write a page of the shapes or rooms beside a dataset, so that a wrong up axis is seen before training."""
    from act3d.use.dataset_page import place_of_page, write_rooms, write_shapes

    return (write_rooms if kind in SCENE_FORMATS else write_shapes)(place_of_page(out), out)


def _format_of(source: Path) -> str:
    from act3d.prepare.kicad import find_models
    from act3d.prepare.ldraw import find_library
    from act3d.prepare.objaverse import find_objaverse
    from act3d.prepare.s3dis import find_raw

    if source.suffix == ".deb":
        return next((kind for word, kind in PACKAGES.items() if word in source.name), "kicad")
    if source.suffix == ".sh3f" or (source.is_dir() and any(source.glob("**/*.sh3f"))):
        return "sweethome3d"
    if source.is_dir() and find_raw(source) is not None:
        return "s3dis"
    if source.is_dir() and find_library(source):
        return "ldraw"
    if source.is_dir() and find_objaverse(source):
        return "objaverse"
    return "kicad" if source.is_dir() and find_models(source) else "folder"


def _unpacked(package: Path, kind: str, folder: Path) -> Path:
    from act3d.prepare.debian import unpack

    suffixes = {
        "kicad": (".wrl",), "sweethome3d": (".sh3f",), "ldraw": (".dat",), "synthetic-rooms": (".sh3f",)
    }.get(kind)  # fmt: skip
    if suffixes is None:
        raise InputError(f"{package} is a Debian package; --format {kind} needs a folder")
    if unpack(package, suffixes, folder) == 0:
        raise InputError(f"{package} holds no {suffixes[0]} files")
    return folder


def list_shapes(root: Path, settings: PrepareSettings) -> "Source":
    """List the shapes of a folder, as `prepare` would.

    Raises:
        InputError: no folder of shapes.
    """
    kind = _format_of(root)
    if kind in SCENE_FORMATS or not root.is_dir():
        what = "holds rooms" if kind in SCENE_FORMATS else "is not a folder"
        raise InputError(f"{root} {what}; run act3d prepare {root} --out DIR first")
    return _list(root, kind, settings)


def _list(root: Path, kind: str, settings: PrepareSettings) -> "Source":
    from act3d.prepare.folder import folder_source
    from act3d.prepare.kicad import kicad_source
    from act3d.prepare.ldraw import ldraw_source
    from act3d.prepare.objaverse import objaverse_source
    from act3d.prepare.sweethome3d import sweethome3d_source

    scale, unit = settings.scale, settings.unit
    if kind == "folder":
        if not root.is_dir():
            raise InputError(f"{root} is not a folder")
        up = "y" if settings.up == "auto" else settings.up
        factor, out = 1.0 if scale is None else scale, Path(settings.out)
        return folder_source(root, out, up, factor, unit or "", settings.test_fraction, settings.seed)
    if kind == "objaverse":
        found = objaverse_source(root, settings.test_fraction, settings.seed)
    else:
        found = {"kicad": kicad_source, "sweethome3d": sweethome3d_source, "ldraw": ldraw_source}[kind](root)
    found.scale = found.scale if scale is None else scale
    found.unit = (found.unit if scale is None else "") if unit is None else unit
    return found


def print_summary(summary: "Summary") -> None:
    """Print counts per class and split, failures with reasons, time."""
    from act3d.tables import Cell, Table

    order = {"train": 0, "val": 1, "test": 2}
    names = {split for counts in summary.counts.values() for split in counts}
    splits = sorted(names, key=lambda split: (order.get(split, 3), split))
    rows: list[list[Cell]] = []
    for cls, counts in sorted(summary.counts.items(), key=lambda pair: (pair[0] == "", pair[0])):
        rows.append([cls or "(none)", *(counts.get(split) for split in splits)])
    totals = [sum(counts.get(split, 0) for counts in summary.counts.values()) for split in splits]
    Table(["class", *splits], [*rows, ["total", *totals]], strong=[len(rows)]).print()
    place = summary.out
    say(f"{summary.clouds} clouds in {place}, {summary.seconds:.0f} s, fingerprint {summary.fingerprint}")
    _print_notes(summary.notes)
    _print_failures(summary.failures, f", listed in {place}/failures.csv")


def print_rooms(summary: "SceneSummary") -> None:
    """Print points per class, rooms, repairs, time."""
    from act3d.tables import Cell, Table

    total = sum(int(count.sum()) for count in summary.counts.values())
    rows: list[list[Cell]] = []
    for number, name in enumerate(summary.classes):
        points = sum(int(count[number]) for count in summary.counts.values())
        with_it = sum(bool(count[number]) for count in summary.counts.values())
        rows.append([name, points, f"{100 * points / max(total, 1):.1f} %", with_it])
    Table(["class", "points", "share", "rooms"], rows).print()
    place = summary.out
    say(f"{len(summary.counts)} rooms, {total} labelled points in {place}, {summary.seconds:.0f} s")
    _print_notes(summary.notes)
    _print_failures(summary.failures)


def _print_notes(notes: "Sequence[str]", most: int = 20) -> None:
    for note in notes[:most]:
        say(note)
    if len(notes) > most:
        say(f"... and {len(notes) - most} more notes")


def _print_failures(failures: "Sequence[tuple[str, str]]", where: str = "", most: int = 10) -> None:
    if failures:
        say(f"{len(failures)} files failed{where}:")
    for name, reason in failures[:most]:
        say(f"  {name}: {reason}")
    if len(failures) > most:
        say("  ...")

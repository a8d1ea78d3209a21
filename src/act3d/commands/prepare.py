"""`act3d prepare`: raw meshes and point clouds -> a packed dataset."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from act3d.errors import ConfigError, InputError

if TYPE_CHECKING:
    from act3d.prepare.items import Source
    from act3d.prepare.pack import Summary
    from act3d.prepare.s3dis import SceneSummary

PACKAGES = {"sweethome": "sweethome3d", "ldraw": "ldraw"}  # word in a Debian package's name -> format
SCENE_FORMATS = ("s3dis", "synthetic-rooms", "scenes")


def prepare(
    source: Path,
    out: Path,
    format: Literal["auto", "folder", "kicad", "sweethome3d", "ldraw", "s3dis", "synthetic-rooms", "scenes"] = "auto",
    points: int = 8192,
    up: Literal["auto", "x", "y", "z"] = "auto",
    scale: float | None = None,
    unit: str | None = None,
    normalization: Literal["unit_sphere", "none"] = "unit_sphere",
    test_fraction: float = 0.2,
    dtype: Literal["float16", "float32"] = "float16",
    workers: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    classes: Path | None = None,
    label: str = "",
    rooms: int = 30,
    room_points: int = 150_000,
) -> "Summary | SceneSummary":
    """Turn a folder of meshes and point clouds into a dataset ready for training.

    Points are spread evenly over each surface by area and stored y-up, centred, in the unit sphere, together with the
    original centre and scale. Reads obj, ply, stl, off, glb, gltf, dae, 3mf, wrl, LDraw's dat and
    ldr, npy, npz, xyz, pts and pcd. One
    subfolder is one class; train and test folders above or below the classes are kept. A file that cannot be read is
    listed with its reason in failures.csv and does not stop the others. A killed run goes on where it was when started
    again, and gives the same bytes.

    Rooms for act3d segment: s3dis turns S3DIS's raw annotations into stanford_indoor3d; synthetic-rooms furnishes rooms
    with Sweet Home 3D's models, scans them, and writes them in S3DIS's layout, raw and converted; scenes takes a folder
    of your own labelled clouds (npy, ply, las, laz) and a list of classes.

    Args:
        source: Folder with the models. For kicad, sweethome3d and ldraw: the unpacked Debian package (or its folder
            3dmodels, furniture or ldraw), or the .deb file itself.
        out: Folder to write. An existing dataset is never touched unless overwrite is set.
        format: What the source is; auto looks for S3DIS, KiCad libraries, Sweet Home 3D catalogs and LDraw's
            parts, else takes any folder of models. Synthetic-rooms and scenes have to be asked for.
        points: Points stored per model.
        up: The up axis in the files; auto means z for KiCad, y otherwise.
        scale: Factor on the coordinates, for instance 0.001 from millimetres to metres (default: 2.54 for KiCad, which
            counts tenths of an inch, 0.4 for LDraw, else 1).
        unit: Name of the unit after scaling, for the record.
        normalization: What reading gives: unit_sphere (centred, largest radius 1) or none (original size and place).
        test_fraction: Part of each class that becomes the test split when the folders name none.
        dtype: Number type on disk; float16 is precise to 0.0005 of the radius.
        workers: Processes that read models (default: one per CPU core).
        seed: Seed of the sampled points and of the test split.
        overwrite: Replace a dataset at out, once the new one is complete.
        classes: For scenes: text file with the classes, one a line, "name" or "value name".
        label: For scenes: the label's column (npy, from 0) or property (ply, las); by default the last column, or a
            property called label, class, classification ...
        rooms: For synthetic-rooms: how many.
        room_points: For synthetic-rooms: points of a room, about.

    Returns:
        Counts per class and split, failures, time and fingerprint.

    Raises:
        InputError: no model found, or out would be lost.
        ConfigError: a setting out of its bounds.
    """
    from act3d.prepare.pack import pack
    from act3d.progress import Progress

    if not 0 <= test_fraction < 1:
        raise ConfigError(f"test_fraction is {test_fraction}; it must be at least 0 and below 1")
    if scale is not None and not 0 < scale < float("inf"):
        raise ConfigError(f"scale is {scale}; it must be positive")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; it must be at least 1")
    source, out = Path(source), Path(out)
    if not source.exists():
        raise InputError(f"{source} does not exist")
    if out.absolute() == source.absolute():
        raise InputError(f"--out {out} is the source itself; choose another folder")
    with tempfile.TemporaryDirectory(prefix="act3d-") as temporary:
        kind = _format_of(source) if format == "auto" else format
        root = _unpacked(source, kind, Path(temporary)) if source.suffix == ".deb" else source
        if kind in SCENE_FORMATS:
            from act3d.prepare.rooms import prepare_rooms

            with Progress(text="preparing", unit="rooms") as progress:
                made = prepare_rooms(
                    kind, root, out, classes=classes, label=label, up=up, scale=scale, test_fraction=test_fraction,
                    rooms=rooms, room_points=room_points, workers=workers or os.cpu_count() or 1, seed=seed,
                    overwrite=overwrite, progress=progress.update,
                )  # fmt: skip
            print_rooms(made)
            return made
        found = _list(root, out, kind, "y" if up == "auto" else up, scale, unit, test_fraction, seed)
        if up != "auto":
            found.up = up
        with Progress(text="preparing", unit="models") as progress:
            summary = pack(
                found, out, points, seed, dtype, normalization, workers or os.cpu_count() or 1, overwrite,
                str(source), progress=progress.update,
            )  # fmt: skip
    print_summary(summary)
    return summary


def _format_of(source: Path) -> str:
    from act3d.prepare.kicad import find_models
    from act3d.prepare.ldraw import find_library
    from act3d.prepare.s3dis import find_raw

    if source.suffix == ".deb":
        return next((kind for word, kind in PACKAGES.items() if word in source.name), "kicad")
    if source.suffix == ".sh3f" or (source.is_dir() and any(source.glob("**/*.sh3f"))):
        return "sweethome3d"
    if source.is_dir() and find_raw(source) is not None:
        return "s3dis"
    if source.is_dir() and find_library(source):
        return "ldraw"
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


def _list(
    root: Path, out: Path, kind: str, up: str, scale: float | None, unit: str | None, test_fraction: float, seed: int
) -> "Source":
    from act3d.prepare.folder import folder_source
    from act3d.prepare.kicad import kicad_source
    from act3d.prepare.ldraw import ldraw_source
    from act3d.prepare.sweethome3d import sweethome3d_source

    if kind == "folder":
        if not root.is_dir():
            raise InputError(f"{root} is not a folder")
        return folder_source(root, out, up, 1.0 if scale is None else scale, unit or "", test_fraction, seed)
    found = {"kicad": kicad_source, "sweethome3d": sweethome3d_source, "ldraw": ldraw_source}[kind](root)
    found.scale = found.scale if scale is None else scale
    found.unit = (found.unit if scale is None else "") if unit is None else unit
    return found


def print_summary(summary: "Summary") -> None:
    """Print counts per class and split, failures with reasons, time."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    order = {"train": 0, "val": 1, "test": 2}
    names = {split for counts in summary.counts.values() for split in counts}
    splits = sorted(names, key=lambda split: (order.get(split, 3), split))
    table = Table("class", *splits, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for cls, counts in sorted(summary.counts.items(), key=lambda pair: (pair[0] == "", pair[0])):
        table.add_row(cls or "(none)", *(str(counts.get(split, "")) for split in splits))
    totals = [str(sum(counts.get(split, 0) for counts in summary.counts.values())) for split in splits]
    table.add_row("total", *totals, style="bold")
    console.print(table)
    print(f"{summary.clouds} clouds in {summary.out}, {summary.seconds:.0f} s, fingerprint {summary.fingerprint}")
    for note in summary.notes:
        print(note)
    if summary.failures:
        print(f"{len(summary.failures)} files failed, listed in {summary.out / 'failures.csv'}:")
        for name, reason in summary.failures[:10]:
            print(f"  {name}: {reason}")
        if len(summary.failures) > 10:
            print("  ...")


def print_rooms(summary: "SceneSummary") -> None:
    """Print points per class, rooms, repairs, time."""
    from rich.console import Console
    from rich.table import Table

    total = sum(int(count.sum()) for count in summary.counts.values())
    table = Table("class", "points", "share", "rooms", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for number, name in enumerate(summary.classes):
        points = sum(int(count[number]) for count in summary.counts.values())
        with_it = sum(bool(count[number]) for count in summary.counts.values())
        table.add_row(name, str(points), f"{100 * points / max(total, 1):.1f} %", str(with_it))
    Console().print(table)
    print(f"{len(summary.counts)} rooms, {total} labelled points in {summary.out}, {summary.seconds:.0f} s")
    for note in summary.notes[:20]:
        print(note)
    if len(summary.notes) > 20:
        print(f"... and {len(summary.notes) - 20} more notes")

"""From a `Source` to a packed dataset; every file is read in a process that limits protect."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from act3d.channel_values import to_bytes
from act3d.data.description import TABLE, read_table
from act3d.data.packing import FAILURES, Cloud, Failure, PackedWriter
from act3d.errors import ConfigError, InputError
from act3d.prepare import kicad, sweethome3d
from act3d.prepare.earlier import Earlier, marks_of, write_sources
from act3d.prepare.folder import up_notes
from act3d.prepare.items import Item, Source, random_for
from act3d.prepare.own_labels import PartNames, only_piece, sample_parts
from act3d.readers.by_suffix import read_shape
from act3d.readers.engine import Engine, local
from act3d.readers.guarded import Lost, limits_for
from act3d.readers.point_channels import channel_values
from act3d.readers.shape import Shape, sample_surface
from act3d.readers.up_axis import to_y_up


@dataclass(frozen=True)
class Settings:
    """The settings that determine a cloud besides its file."""

    kind: str
    points: int
    seed: int
    up: str
    up_asked: bool
    scale: float
    parts: bool
    dtype: str
    channels: tuple[str, ...] = ()
    part_names: PartNames | None = None
    vocabulary: tuple[str, ...] = ()


@dataclass
class Summary:
    """Result of `prepare`.

    Attributes:
        out: The dataset's folder.
        clouds: How many it holds.
        counts: Clouds by class and split; "" are those without a class.
        failures: (name, reason) of every file that gave none.
        seconds: Wall time.
        fingerprint: Of the data.
        notes: Further lines for the user.
    """

    out: Path
    clouds: int
    counts: dict[str, dict[str, int]]
    failures: list[tuple[str, str]]
    seconds: float
    fingerprint: str
    notes: list[str] = field(default_factory=list)


def _read(item: Item, kind: str) -> Shape:
    if kind == "sweethome3d":
        return sweethome3d.read_member(item.path, item.member)
    return only_piece(_whole(item.path), item.member) if item.member else read_shape(item.path)


@lru_cache(maxsize=1)  # pieces of an assembly come one after the other
def _whole(path: Path) -> Shape:
    return read_shape(path)


def make_cloud(item: Item, settings: Settings) -> Cloud:
    """Read one model and sample it; runs in a process of its own, see `act3d.readers.guarded`."""
    shape = _read(item, settings.kind)
    up = settings.up if settings.up_asked else shape.up or settings.up
    turned_from = shape.turned_from if settings.up_asked else ""
    with np.errstate(all="ignore"):  # overflow shows as a value that is not finite, below
        if item.rotation is not None:
            shape.vertices = shape.vertices @ np.array(item.rotation).reshape(3, 3).T
        shape.vertices = to_y_up(shape.vertices, up, turned_from) * settings.scale
        if shape.point_normals is not None:  # clouds have no rotation of their own: catalogs with one hold meshes
            shape.point_normals = to_y_up(shape.point_normals, up, turned_from)
        samples = sample_surface(shape, settings.points, random_for(settings.seed, item.name))
        points, faces, area = samples[:3]
        center = points.mean(axis=0)
        points = points - center
        scale = float(np.sqrt((points**2).sum(axis=1).max()))
        if not (np.isfinite(scale) and scale > 0):
            raise InputError("its extent is zero or not finite")
    parts = None
    if settings.part_names is not None:
        parts = sample_parts(shape, samples, item.name, settings.part_names, settings.vocabulary)
    elif settings.parts and faces is not None:
        parts = kicad.face_parts(shape)[faces]
    count = 0 if shape.faces is None else len(shape.faces)
    extra = {"vertices": str(len(shape.vertices)), "faces": str(count), "area": f"{area:.6g}"} | item.extra
    if shape.missing:
        extra["missing"] = str(shape.missing)
    # In the type that is stored: a quarter of the bytes on their way from process to process.
    stored = (points / scale).astype(settings.dtype)
    beside = None
    if settings.channels:
        values, known = channel_values(shape, samples, settings.channels)
        beside, extra["channels"] = to_bytes(values), " ".join(known)
    note = f"{item.path.suffix} files: {shape.note}" if shape.note else ""
    return Cloud(item.name, stored, center, scale, parts, item.cls, item.split, extra, note, beside)


def shard_size_for(items: int) -> int:
    """Clouds a shard: few, so that a kill loses little; more in large collections, to keep the number of files low."""
    return min(4096, max(128, -(-items // 256)))


def pack(
    source: Source,
    out: Path,
    points: int = 8192,
    seed: int = 0,
    dtype: str = "float16",
    normalization: str = "unit_sphere",
    engine: Engine | None = None,
    overwrite: bool = False,
    origin: str = "",
    shard_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    channels: tuple[str, ...] = (),
    part_names: PartNames | None = None,
    extend: bool = False,
) -> Summary:
    """Read, sample and store all items of `source` at `out`; see `act3d.commands.prepare` for the arguments.

    The result depends on the files, the settings and `seed`, not on `engine` nor on interruptions.
    """
    if points < 1:
        raise ConfigError(f"points is {points}; it must be at least 1")
    start = time.perf_counter()
    settings = Settings(
        source.kind, points, seed, source.up, source.up_asked, source.scale, bool(source.parts), dtype, channels,
        part_names, tuple(source.parts) if part_names else (),
    )  # fmt: skip
    declared = {
        "name": source.name, "classes": source.classes, "up": "y", "source_up": source.up,
        "source_formats": source.formats(), "scale": source.scale,
        "unit": source.unit, "normalization": normalization, "source": origin, "licence": source.licence, "seed": seed,
    }  # fmt: skip
    later = {"channels", "part_names", "vocabulary"}  # datasets without them were prepared before there were any
    decides = {key: value for key, value in asdict(settings).items() if key not in later or value}
    plan: dict[str, Any] = {"settings": decides, "items": [item.state() for item in source.items]}
    plan |= {key: value for key, value in declared.items() if key != "source"}
    count = len(source.items)
    size = shard_size or shard_size_for(count)
    writer = PackedWriter(out, plan, count, points, dtype, source.parts, size, overwrite, channels, extend)
    pending, marks = writer.pending(), marks_of(source.items, decides)
    earlier = Earlier(writer.out) if extend and not writer.complete else None
    here = [i for shard in pending for i in writer.items_of(shard)]
    items = [source.items[i] for i in here if earlier is None or marks[i] not in earlier]
    work = partial(make_cloud, settings=settings)
    read, beside = engine or local()
    results = read(work, items, lambda item: limits_for(item.path, beside))
    notes = [*source.notes, *up_notes(source)]
    if writer.complete:
        notes.append("was already complete: nothing to do")
    if earlier is not None:
        notes.append(
            f"{len(here) - len(items)} clouds were kept; {len(items)} files are new, changed, or failed before"
        )
    done = count - len(here)
    if done and not writer.complete:
        notes.append(f"continued after {done} models that were prepared before")
    taken: dict[str, None] = {}  # for granted, by the readers
    with closing(results):  # an interruption must not wait for the models still queued
        for shard in pending:
            batch: list[Cloud | Failure] = []
            for i in writer.items_of(shard):
                if earlier is not None and marks[i] in earlier:
                    result = earlier.cloud(marks[i], source.items[i])
                else:
                    result = next(results)
                batch.append(Failure(source.items[i].name, result.reason) if isinstance(result, Lost) else result)
                done += 1
                if progress is not None:
                    progress(done, count)
            writer.write_shard(shard, batch)
            taken |= {cloud.note: None for cloud in batch if isinstance(cloud, Cloud) and cloud.note}
    if not writer.complete:
        write_sources(writer.work, source.items, marks)
    description = writer.finish(declared)
    return summarize(Path(out), description, time.perf_counter() - start, [*notes, *taken])


def summarize(out: Path, description: dict[str, Any], seconds: float, notes: list[str]) -> Summary:
    """Count the clouds of a finished dataset."""
    table = read_table(out / TABLE)
    counts: dict[str, dict[str, int]] = {cls: {} for cls in description["classes"]}
    for cls, split in zip(table["class"], table["split"], strict=True):
        of_class = counts.setdefault(cls, {})
        of_class[split] = of_class.get(split, 0) + 1
    failed = read_table(out / FAILURES)
    failures = list(zip(failed["name"], failed["reason"], strict=True))
    sizes = zip(table["faces"], table["vertices"], strict=True)
    few = sum(faces == "0" and int(vertices) < description["points"] for faces, vertices in sizes)
    if few:
        notes = [*notes, f"{few} clouds have fewer than {description['points']} points: some are repeated"]
    incomplete = sum(value != "" for value in table.get("missing", []))
    if incomplete:
        notes = [*notes, f"{incomplete} models lack pieces that could not be found: column missing of {TABLE}"]
    for name in description.get("channels", []):
        with_it = sum(name in row.split() for row in table["channels"])
        notes = [*notes, f"{name}: {with_it} of {len(table['channels'])} clouds have it, in the others it is 0"]
    return Summary(out, description["clouds"], counts, failures, seconds, description["fingerprint"], notes)

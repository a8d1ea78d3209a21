"""Writing the packed format: whole or not at all, shard by shard, so that a killed run can be continued."""

import csv
import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from act3d.data.description import (
    DESCRIPTION,
    FORMAT,
    TABLE,
    VERSION,
    checksum,
    fingerprint_of,
    kinds_of,
    read_description,
    sealed,
)
from act3d.errors import InputError
from act3d.files import atomic_path, move_into_place, printable, read_json, recover_folder, write_json, write_text

FAILURES = "failures.csv"
PLAN = "plan.json"
COLUMNS = ["name", "class", "split", "cx", "cy", "cz", "scale"]
CENTERS = ("cx", "cy", "cz")
# A centre this many radii from zero is kept with all its digits, and zero is moved: float32 coordinates, which reading
# gives, would lose the shape (six digits of a UTM northing are gone before its first metre).
FAR_RADII = 1000.0
LOST_RADII = 100_000.0  # at this distance float32 keeps less than float16 keeps of the shape itself


@dataclass
class Cloud:
    """One cloud ready to be stored: `points` (P, 3) in the unit sphere, its original centre and scale, its row.

    `note` is what its reader took for granted; it is not stored. `channels` are (P, F) int8, see `act3d.channels`.
    """

    name: str
    points: np.ndarray
    center: np.ndarray
    scale: float
    parts: np.ndarray | None = None
    cls: str = ""
    split: str = "train"
    extra: dict[str, str] = field(default_factory=dict)
    note: str = ""
    channels: np.ndarray | None = None


@dataclass
class Failure:
    """A file that gave no cloud, and why."""

    name: str
    reason: str


def _table(header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def move_zero(rows: list[dict[str, str]], normalization: str) -> dict[str, list[float]]:
    """Move the centres of clouds that lie far from zero, all by one offset; give it as an entry of the description.

    Args:
        rows: The table; its centres are changed where an offset is needed.
        normalization: "none" refuses clouds that lie too far from the others for float32 to keep them.

    Returns:
        {"offset": [x, y, z]}, which added to the coordinates of the dataset gives those of the files; {} for none.

    Raises:
        InputError: No offset brings all clouds near enough, and `normalization` is "none".
    """
    centers = np.array([[float(row[key]) for key in CENTERS] for row in rows])
    scales = np.array([float(row["scale"]) for row in rows])
    if not (np.abs(centers).max(axis=1) > FAR_RADII * scales).any():
        return {}
    offset = np.round(np.median(centers, axis=0))
    centers = centers - offset
    lost = np.flatnonzero(np.abs(centers).max(axis=1) > LOST_RADII * scales)
    if normalization == "none" and len(lost):
        raise InputError(
            f"{rows[lost[0]]['name']} lies {np.abs(centers[lost[0]]).max():.6g} from the others, {len(lost)} in all: "
            "float32 cannot keep their shapes there; prepare them apart, or with --normalization unit_sphere"
        )
    for row, center in zip(rows, centers.tolist(), strict=True):
        row.update(zip(CENTERS, map(str, center), strict=True))
    return {"offset": offset.tolist()}


class PackedWriter:
    """Writes one packed dataset, in a hidden folder beside `out` that is renamed to `out` when all is there.

    Args:
        out: The folder to make.
        plan: JSON-able; everything that decides the bytes (settings and the list of files). A later writer with the
            same plan keeps the finished shards; one with another plan starts again.
        items: Number of items; item i belongs to shard i // shard_size, in whatever process and order it is read.
        points: Points per cloud.
        dtype: "float16" or "float32".
        parts: Part vocabulary; empty for none.
        shard_size: Items per shard.
        overwrite: Replace a finished dataset at `out`, but only once the new one is complete.
        channels: Channels of points beside x, y and z.
        extend: As `overwrite`, but a dataset at `out` that was made by the same plan is kept.

    Raises:
        InputError: `out` holds something that would be lost.
    """

    def __init__(
        self,
        out: str | Path,
        plan: Mapping[str, Any],
        items: int,
        points: int,
        dtype: str = "float16",
        parts: Sequence[str] = (),
        shard_size: int = 256,
        overwrite: bool = False,
        channels: Sequence[str] = (),
        extend: bool = False,
    ):
        if dtype not in ("float16", "float32"):
            raise InputError(f"dtype {dtype!r} is not known; allowed: float16, float32")
        self.out = Path(out).absolute()
        self.items, self.points, self.dtype, self.parts = items, points, dtype, list(parts)
        self.shard_size, self.overwrite, self.channels, self.extend = shard_size, overwrite, list(channels), extend
        every = [dict(plan), items, points, dtype, self.parts, shard_size, *([self.channels] if channels else [])]
        text = json.dumps(every, sort_keys=True)
        self.plan = hashlib.sha256(text.encode()).hexdigest()
        self.complete = self._check_out()
        self.work = self.out.with_name(f".{self.out.name}.partial")
        if not self.complete and self._only_to_be_moved():
            self._move()
            self.complete = True
        if not self.complete:
            self._enter()

    def _only_to_be_moved(self) -> bool:
        """Whether a run with this plan was killed after its last file and before its folder got its name."""
        path = self.work / DESCRIPTION
        return path.is_file() and read_description(self.work).get("plan") == self.plan

    def _check_out(self) -> bool:
        """True if `out` already holds the result; refuses to overwrite anything else."""
        recover_folder(self.out)
        if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
            return False
        if not (self.out / DESCRIPTION).is_file():
            raise InputError(f"{self.out} exists and is not a prepared dataset; choose another --out")
        if self.overwrite:
            return False
        if read_description(self.out).get("plan") == self.plan:
            return True
        if self.extend:
            return False
        raise InputError(
            f"{self.out} holds a dataset prepared from other files or settings; "
            "choose another --out, or --extend true or --overwrite true"
        )

    def _enter(self) -> None:
        plan = self.work / PLAN
        same = plan.is_file() and plan.read_text(encoding="utf-8", errors="replace") == json.dumps(self.plan) + "\n"
        if self.work.exists() and not same:
            shutil.rmtree(self.work)
        if not same:
            write_json(plan, self.plan)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.items // self.shard_size)

    def items_of(self, shard: int) -> range:
        """The items of one shard."""
        return range(shard * self.shard_size, min(self.items, (shard + 1) * self.shard_size))

    def pending(self) -> list[int]:
        """Shards not yet written."""
        return [] if self.complete else [i for i in range(self.shards) if not self._rows(i).is_file()]

    def _rows(self, shard: int) -> Path:
        return self.work / f"rows-{shard:05d}.json"

    def write_shard(self, shard: int, results: Sequence[Cloud | Failure]) -> None:
        """Store the results of `items_of(shard)`, in that order; the file of rows comes last and marks it done."""
        clouds = [result for result in results if isinstance(result, Cloud)]
        failed = [result for result in results if isinstance(result, Failure)]
        failures = [{"name": printable(r.name), "reason": printable(r.reason)} for r in failed]
        arrays = {}
        if clouds:
            arrays["points"] = np.stack([cloud.points for cloud in clouds]).astype(self.dtype)
            if self.parts:
                arrays["parts"] = np.stack([np.asarray(cloud.parts) for cloud in clouds]).astype(np.uint8)
            if self.channels:
                arrays["channels"] = np.stack([np.asarray(cloud.channels) for cloud in clouds]).astype(np.int8)
        for kind, array in arrays.items():
            with atomic_path(self.work / f"{kind}-{shard:05d}.npy") as path, path.open("wb") as file:
                np.save(file, array)
        rows = [self._row(cloud) for cloud in clouds]
        write_json(self._rows(shard), {"rows": rows, "failures": failures})

    @staticmethod
    def _row(cloud: Cloud) -> dict[str, str]:
        # repr of a float32 keeps every digit that matters, in the shortest form.
        digits = 17 if np.abs(cloud.center).max() > FAR_RADII * cloud.scale else 7
        numbers = [str(float(f"{value:.{digits}g}")) for value in cloud.center]
        numbers.append(str(float(f"{cloud.scale:.7g}")))
        fixed = dict(zip(COLUMNS, [cloud.name, cloud.cls, cloud.split, *numbers], strict=True))
        if cloud.parts is not None:
            fixed["part_ids"] = " ".join(str(part) for part in np.unique(cloud.parts))
        return {key: printable(value) for key, value in (fixed | cloud.extra).items()}

    def _collect(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for shard in range(self.shards):
            yield shard, read_json(self._rows(shard))

    def finish(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Write table and description, then move the folder into place. Returns the description.

        Args:
            info: The keys of `dataset.json` that only the caller knows: name, classes, up, source_up, source_formats,
                scale, unit, normalization, source, licence, seed.
        """
        if self.complete:
            return read_description(self.out)
        rows: list[dict[str, str]] = []
        failures: list[dict[str, str]] = []
        shards: list[dict[str, Any]] = []
        checksums: dict[str, str] = {}
        for shard, content in self._collect():
            rows += content["rows"]
            failures += content["failures"]
            if content["rows"]:
                entry: dict[str, Any] = {"count": len(content["rows"])}
                for kind in kinds_of({"parts": self.parts, "channels": self.channels}):
                    entry[kind] = f"{kind}-{shard:05d}.npy"
                    checksums[entry[kind]] = checksum(self.work / entry[kind])
                shards.append(entry)
        if not rows:
            reason = f"; the first: {failures[0]['name']}: {failures[0]['reason']}" if failures else ""
            raise InputError(f"none of {self.items} files gave a cloud{reason}")
        info = {**info, **move_zero(rows, str(info.get("normalization", "")))}
        table = _table(list(dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)])), rows)
        mark = fingerprint_of(info.get("classes"), self.parts, list(checksums.values()), table.encode())
        checksums[TABLE] = hashlib.sha256(table.encode()).hexdigest()
        described = self._describe(info, rows, shards, len(failures), mark)
        description = sealed({**described, "checksums": checksums})
        write_text(self.work / TABLE, table)
        write_text(self.work / FAILURES, _table(["name", "reason"], failures))
        write_json(self.work / DESCRIPTION, description)
        self._move()
        return description

    def _describe(
        self, info: Mapping[str, Any], rows: list[dict[str, str]], shards: list[Any], failures: int, fingerprint: str
    ) -> dict[str, Any]:
        present: dict[str, set[int]] = {}
        for row in rows if self.parts else []:
            present.setdefault(row["class"], set()).update(int(part) for part in row["part_ids"].split())
        return {
            "format": FORMAT,
            "version": VERSION,
            **info,
            "parts": self.parts,
            **({"channels": self.channels} if self.channels else {}),
            "class_parts": {cls: sorted(present[cls]) for cls in info["classes"] if cls in present},
            "points": self.points,
            "dtype": self.dtype,
            "clouds": len(rows),
            "failures": failures,
            "splits": dict(sorted(Counter(row["split"] for row in rows).items())),
            "fingerprint": fingerprint,
            "plan": self.plan,
            "shards": shards,
        }

    def _move(self) -> None:
        for leftover in [*self.work.glob("rows-*.json"), self.work / PLAN]:
            leftover.unlink(missing_ok=True)
        move_into_place(self.work, self.out)

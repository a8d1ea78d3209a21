"""The packed format: clouds of one size in `.npy` shards that are memory-mapped, one table, one description.

A folder holds

- `dataset.json`: format, version, name, classes, parts, what was declared (up axis, scale, normalization), seed,
  source, licence, the list of shards, counts per split, and the fingerprint;
- `points-00000.npy` ...: (n, P, 3) float16 (or float32), each cloud centred and scaled into the unit sphere, y up;
- `parts-00000.npy` ...: (n, P) uint8, only when there are part labels;
- `channels-00000.npy` ...: (n, P, F) int8, only when there are channels beside x, y and z (`act3d.channels`); the
  column `channels` of the table says which of them a cloud's source had;
- `clouds.csv`: one row a cloud, in the order of the shards: name, class, split, the original centre (cx, cy, cz; less
  `offset`, which the description has where models lie far from zero) and scale, and whatever the source knows (faces,
  area, family, core, licence);
- `failures.csv`: what could not be read, and why;
- `sources.csv`: what each file was, so that `prepare --extend` sees which have changed.

Opening reads the description and the table; a cloud is read by its place, without reading any other. Before the first
cloud of a shard is read, the shard is checked against its checksum.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act3d.channel_values import from_bytes, recast
from act3d.channels import width_of
from act3d.data.clouds import CloudDataset, Stored, choose_points
from act3d.data.description import (
    DESCRIPTION,
    TABLE,
    check_file,
    checksum,
    fingerprint_of,
    kinds_of,
    read_description,
    read_table,
)
from act3d.data.layout import Found, Layout, Wanted, check_by_opening
from act3d.data.reading import open_npy
from act3d.errors import InputError, NoSplit, reason_of
from act3d.files import is_remote
from act3d.remote import join

__all__ = ["DESCRIPTION", "TABLE", "PackedDataset", "read_description", "read_table"]


_COLUMNS = ("name", "class", "split", "cx", "cy", "cz", "scale")


def open_shard(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Memory-map one shard, after checking that the file holds all that the description promises."""
    try:
        shard = open_npy(path)
    except InputError as error:
        raise InputError(f"{error}; prepare the dataset again") from None
    if shard.shape != shape or shard.dtype != np.dtype(dtype):
        raise InputError(f"{path} holds {shard.shape} {shard.dtype}, expected {shape} {dtype}")
    return shard


class PackedDataset(CloudDataset):
    """A prepared folder, or a selection of it. See `CloudDataset` for attributes and batches.

    Args:
        root: The folder; of `StreamedDataset`, a URL.
        split: "train", "test", "unlabeled" ..., several joined by "+", or None for everything.
        points: Points given per cloud; all stored ones by default.
        seed: Seed of the random subsets.
        normalize: "unit_sphere" or "none" (original coordinates); by default what the dataset declares.
        subset: Name of a 0/1 column of the table; only rows with 1 are kept ("core" in the two Debian collections).
        channels: Channels that points are given with, beside x, y and z; among those that are stored.

    Raises:
        InputError: the folder is no packed dataset, damaged, or the selection is empty or impossible.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        points: int | None = None,
        seed: int = 0,
        normalize: str | None = None,
        subset: str | None = None,
        channels: Sequence[str] = (),
    ):
        self.root = root if is_remote(root) else Path(root)
        info = read_description(self.root)
        super().__init__(seed, normalize or info["normalization"])
        self.table = self._read_table(info)
        absent = [name for name in _COLUMNS if name not in self.table]
        if absent:
            raise InputError(f"{join(self.root, TABLE)} has no column {absent[0]!r}")
        self.dtype = np.dtype(info["dtype"])
        self.stored = int(info["points"])
        self.stored_channels = tuple(info.get("channels", ()))
        # Those that are not stored are not given: who opened the dataset says so.
        self.channels = tuple(name for name in channels if name in self.stored_channels)
        self._open_shards(info)
        self._place_rows(info)
        self.rows = self._select(info, split, subset)
        self.points = self.stored if points is None else points
        if not 1 <= self.points <= self.stored:
            raise InputError(f"{self.points} points per cloud were asked of {self.root}; it stores {self.stored}")
        self.name = info["name"]
        self.classes = list(info["classes"])
        self.parts = list(info["parts"])
        self.class_parts = {key: list(value) for key, value in info.get("class_parts", {}).items()}
        self.names = [self.table["name"][row] for row in self.rows]
        self.split = [self.table["split"][row] for row in self.rows]
        place = {name: i for i, name in enumerate(self.classes)}
        self.labels = np.array([place.get(self.table["class"][row], -1) for row in self.rows], dtype=np.int64)
        self.fingerprint = info["fingerprint"]
        kept = ("up", "source_up", "source_formats", "offset", "scale", "unit", "licence", "source")
        self.describe(**{key: info.get(key) for key in kept})
        if self.channels:
            self.meta["channels"] = list(self.channels)

    def _read_table(self, info: dict[str, Any]) -> dict[str, list[str]]:
        return read_table(Path(self.root, TABLE), info.get("checksums", {}).get(TABLE))

    def _open_shards(self, info: dict[str, Any]) -> None:
        sums, kinds = info.get("checksums", {}), kinds_of(info)
        self._unchecked = {
            number: {Path(self.root, shard[kind]): sums.get(shard[kind]) for kind in kinds}
            for number, shard in enumerate(info["shards"])
        }
        self._shards = [
            {kind: self._map(Path(self.root, shard[kind]), kind, shard["count"]) for kind in self._read_kinds(info)}
            for shard in info["shards"]
        ]

    def _read_kinds(self, info: dict[str, Any]) -> list[str]:
        """The arrays of a shard that are read: channels only where some are asked for."""
        return [kind for kind in kinds_of(info) if kind != "channels" or self.channels]

    def _map(self, path: Path, kind: str, count: int) -> np.ndarray:
        """Memory-map one array of a shard of `count` clouds."""
        shapes = {"points": (3,), "parts": (), "channels": (width_of(self.stored_channels),)}
        types = {"points": self.dtype.name, "parts": "uint8", "channels": "int8"}
        return open_shard(path, (count, self.stored, *shapes[kind]), types[kind])

    def _arrays(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of a shard by their kind.

        Raises:
            InputError: one is not the file that was written.
        """
        for path, expected in self._unchecked.get(number, {}).items():
            check_file(path, expected)
        self._unchecked.pop(number, None)
        return self._shards[number]

    def _place_rows(self, info: dict[str, Any]) -> None:
        counts = [int(shard["count"]) for shard in info["shards"]]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        table = join(self.root, TABLE)
        if len(self.table["name"]) != self._starts[-1]:
            raise InputError(f"{table} has {len(self.table['name'])} rows for {self._starts[-1]} clouds")
        try:
            numbers = [np.array(self.table[key], dtype=np.float64) for key in ("cx", "cy", "cz", "scale")]
        except ValueError as error:
            raise InputError(f"{table} is damaged ({reason_of(error)})") from None
        unknown = set(self.table["class"]) - {*info["classes"], ""}
        if unknown:
            raise InputError(f"{table} has a class {min(unknown)!r}, which {DESCRIPTION} does not know")
        self._centers, self._scales = np.stack(numbers[:3], axis=1), numbers[3]

    def _select(self, info: dict[str, Any], split: str | None, subset: str | None) -> np.ndarray:
        keep = np.ones(len(self.table["name"]), dtype=bool)
        if split is not None:
            wanted = split.split("+")
            for name in wanted:
                if name not in info["splits"]:
                    raise NoSplit(str(self.root), name, info["splits"])
            keep &= np.isin(self.table["split"], wanted)
        if subset is not None:
            if subset not in self.table or set(self.table[subset]) - {"0", "1", ""}:
                raise InputError(f"{self.root} has no subset {subset!r}: its table has no such 0/1 column")
            keep &= np.array(self.table[subset]) == "1"
        if not keep.any():
            raise InputError(f"{self.root} has no clouds in split {split!r}, subset {subset!r}")
        return np.flatnonzero(keep)

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        places = self.rows[rows]
        picks = np.stack([choose_points(self.seed, epoch, int(i), self.stored, self.points) for i in rows])
        points = np.empty((*picks.shape, 3), dtype=np.float32)
        parts = np.empty(picks.shape, dtype=np.int64) if self.parts else None
        beside = np.empty((*picks.shape, width_of(self.channels)), dtype=np.float32)
        for arrays, here, inside in self._by_shard(places):
            # Flat places of the wanted points, so that only their pages are touched.
            flat = inside[:, None] * self.stored + picks[here]
            points[here] = arrays["points"].reshape(-1, 3)[flat]
            if parts is not None:
                parts[here] = arrays["parts"].reshape(-1)[flat]
            if self.channels:
                shard = arrays["channels"]
                every = from_bytes(shard.reshape(-1, shard.shape[2])[flat])
                beside[here] = recast(every, self.stored_channels, self.channels)
        points = self._as_declared(points, places)
        return np.concatenate([points, beside], axis=2) if self.channels else points, parts

    def columns(self) -> dict[str, list[str]]:
        return {name: [values[row] for row in self.rows] for name, values in self.table.items()}

    def stored_alike(self) -> Stored | None:
        if self.channels:
            return None
        half = self.dtype == np.float16 and self.normalization != "none"
        return Stored(self.stored, np.dtype(np.float16 if half else np.float32), ordered=False)

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        places = self.rows[rows]
        points = np.empty((len(rows), self.stored, 3), dtype=self.dtype)
        parts = np.empty(points.shape[:2], dtype=np.uint8) if self.parts else None
        for arrays, here, inside in self._by_shard(places):
            points[here] = arrays["points"][inside]
            if parts is not None:
                parts[here] = arrays["parts"][inside]
        return self._as_declared(points, places), parts

    def _shards_of(self, places: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._starts, places, side="right") - 1

    def _by_shard(self, places: np.ndarray) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
        """Of every shard with some of `places` its arrays, which of them it holds, and where in it they lie.

        Raises:
            InputError: a shard is not the file that was written.
        """
        owner = self._shards_of(places)
        for number in np.unique(owner).tolist():
            here = np.flatnonzero(owner == number)
            yield self._arrays(number), here, places[here] - self._starts[number]

    def _as_declared(self, points: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Give points their original coordinates back, where these are wanted."""
        if self.normalization != "none":
            return points
        # The product is in float64: the scales are.
        wide = points.astype(np.float32) * self._scales[places, None, None] + self._centers[places, None]
        return wide.astype(np.float32)


def find_base(root: Path) -> Path | None:
    """`root` if it holds a description; else None."""
    return root if (root / DESCRIPTION).is_file() else None


def _open(base: Path, wanted: Wanted) -> PackedDataset:
    return PackedDataset(base, *wanted)


def _without_checks(base: Path, split: str | None) -> PackedDataset:
    """A dataset that reads its shards whatever they hold: `_check` compares all their checksums."""
    clouds = PackedDataset(base, split)
    clouds._unchecked.clear()
    return clouds


def _check(base: Path) -> list[Found]:
    found = Found("prepared dataset", command="autoencode")
    try:
        info = read_description(base)
    except InputError as error:
        found.problems.append(str(error))
        return [found]
    check_by_opening(found, lambda split: _without_checks(base, split), ())
    found.variant, found.fingerprint = str(info["name"]), None
    kinds = kinds_of(info)
    names = [shard[kind] for shard in info["shards"] for kind in kinds]
    try:
        sums = {name: checksum(base / name) for name in [*names, TABLE]}
        table = (base / TABLE).read_bytes()
    except InputError:  # said already: it could not be opened
        return [found]
    found.fingerprint = fingerprint_of(info["classes"], info["parts"], [sums[name] for name in names], table)
    changed = [name for name, value in info.get("checksums", {}).items() if sums.get(name) != value]
    found.problems += [f"{base / name} was changed after it was written (its checksum differs)" for name in changed]
    if found.fingerprint != info["fingerprint"] and not changed:
        found.problems.append(
            f"{base}: a shard, {TABLE} or {DESCRIPTION} was changed after it was written: the fingerprint is "
            f"{found.fingerprint}, {DESCRIPTION} says {info['fingerprint']}"
        )
    return [found]


LAYOUT = Layout("prepared dataset", find_base, _open, _check, subsets=True)

"""Several datasets as one, to pretrain on everything one has."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from act3d.channels import width_of
from act3d.data.clouds import CloudDataset, Shards, Stored
from act3d.data.views import Turned
from act3d.errors import InputError


class Pool(CloudDataset):
    """The clouds of several datasets, one dataset after the other. See `CloudDataset` for attributes and batches.

    Clouds stand as those of the first dataset do. Classes are kept apart: two datasets that both know a "door" give
    "kicad: door" and "ldraw: door". Part labels are left out: no two datasets mean the same by them.

    Args:
        sources: The datasets, all giving as many points a cloud, by the same normalization.
        weights: For each, how often each of its clouds comes in an epoch; empty = once.

    Raises:
        InputError: datasets that do not fit together.
    """

    def __init__(self, sources: Sequence[CloudDataset], weights: Sequence[float] = ()):
        first = sources[0]
        for source in sources:
            _check_fits(first, source)
        super().__init__(first.seed, first.normalization)
        up = str(first.meta.get("up") or "y")
        self.sources = [_turned(source, up) for source in sources]
        self.starts = np.concatenate([[0], np.cumsum([len(source) for source in sources])]).astype(np.int64)
        titles = _distinct([source.name for source in sources])
        titled = list(zip(titles, sources, strict=True))
        self.name, self.points, self.channels = "+".join(titles), first.points, first.channels
        self.classes = [f"{title}: {name}" for title, source in titled for name in source.classes]
        self.parts, self.class_parts = [], {}
        self.names = [f"{title}: {name}" for title, source in titled for name in source.names]
        self.split = [split for source in sources for split in source.split or [""] * len(source)]
        offsets = np.cumsum([0, *(len(source.classes) for source in sources)])
        self.labels = np.concatenate(
            [np.where(s.labels >= 0, s.labels + offset, -1) for s, offset in zip(sources, offsets, strict=False)]
        ).astype(np.int64)
        if weights:
            self.weights = np.repeat(np.asarray(weights, dtype=np.float64), np.diff(self.starts))
        self.shards = _joined_shards(self.sources)
        marks = [source.fingerprint for source in sources]
        self.fingerprint = hashlib.sha256(" ".join(marks).encode()).hexdigest()[:16]
        self.datasets = [
            {"name": title, "fingerprint": mark, "clouds": len(source), "weight": weight}
            for title, mark, source, weight in zip(titles, marks, sources, weights or [1.0] * len(sources), strict=True)
        ]
        self.describe(**_shared([source.meta for source in self.sources]))

    def about(self) -> dict[str, Any]:
        return {**super().about(), "datasets": self.datasets}

    def class_words(self) -> list[str]:
        return [word for source in self.sources for word in source.class_words()]

    def columns(self) -> dict[str, list[str]]:
        tables = [source.columns() for source in self.sources]
        names = dict.fromkeys(name for table in tables for name in table)
        return {
            name: [
                value
                for table, source in zip(tables, self.sources, strict=True)
                for value in table.get(name, [""] * len(source))
            ]
            for name in names
        }

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, None]:
        points = np.empty((len(rows), self.points, 3 + width_of(self.channels)), dtype=np.float32)
        for source, here, inside in self._by_source(rows):
            points[here] = source.read(inside, epoch)[0]
        return points, None

    def prefetch(self, rows: np.ndarray) -> None:
        for source, _, inside in self._by_source(rows):
            source.prefetch(inside)

    def stored_alike(self) -> Stored | None:
        stored = {source.stored_alike() for source in self.sources}
        return stored.pop() if len(stored) == 1 else None

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, None]:
        whole: np.ndarray | None = None
        for source, here, inside in self._by_source(rows):
            points = source.read_whole(inside)[0]
            if whole is None:
                whole = np.empty((len(rows), *points.shape[1:]), points.dtype)
            whole[here] = points
        assert whole is not None
        return whole, None

    def _by_source(self, rows: np.ndarray) -> list[tuple[CloudDataset, np.ndarray, np.ndarray]]:
        """Of every dataset with some of `rows`: it, which of them are its, and their places in it."""
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        found = ((number, np.flatnonzero(owner == number)) for number in np.unique(owner))
        return [(self.sources[number], here, rows[here] - self.starts[number]) for number, here in found]


def _check_fits(first: CloudDataset, other: CloudDataset) -> None:
    for name, key in (("points", "points"), ("normalization", "normalize")):
        mine, its = getattr(first, name), getattr(other, name)
        if mine != its:
            raise InputError(
                f"data.{key}: {first.name} has {name} {mine}, {other.name} has {its}; datasets that are pooled need "
                f"the same: choose it by --data.{key}"
            )


def _joined_shards(sources: Sequence[CloudDataset]) -> Shards | None:
    """The shards of all datasets; a cloud of one that is read in any order is a shard of its own."""
    if all(source.shards is None for source in sources):
        return None
    known = [
        source.shards or Shards(np.arange(len(source)), np.zeros(len(source), dtype=np.int64)) for source in sources
    ]
    starts = np.cumsum([0, *(len(shards.sizes) for shards in known)])
    of = np.concatenate([shards.of + start for shards, start in zip(known, starts, strict=False)])
    return Shards(of, np.concatenate([shards.sizes for shards in known]))


def _turned(source: CloudDataset, up: str) -> CloudDataset:
    own = str(source.meta.get("up") or "y")
    return source if own == up else Turned(source, own, up)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that occurred before: mine, mine-2."""
    found: list[str] = []
    for name in names:
        number = 2
        title = name
        while title in found:
            title, number = f"{name}-{number}", number + 1
        found.append(title)
    return found


def _shared(metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Facts for inference that all datasets agree on; of those that differ, what can be said of all."""
    names = ("up", "source_up", "offset", "scale", "unit")
    shared = {name: metas[0].get(name) for name in names if all(m.get(name) == metas[0].get(name) for m in metas)}
    formats: dict[str, str] = {}
    unclear = set()
    for meta in metas:
        for suffix, axis in (meta.get("source_formats") or {}).items():
            if formats.setdefault(suffix, axis) != axis:
                unclear.add(suffix)
    kept = {suffix: axis for suffix, axis in formats.items() if suffix not in unclear}
    licences = list(dict.fromkeys(str(meta["licence"]) for meta in metas if meta.get("licence")))
    sources = list(dict.fromkeys(str(meta["source"]) for meta in metas if meta.get("source")))
    joined = {"licence": "; ".join(licences) or None, "source": "; ".join(sources) or None}
    # Without a common axis a file's own format decides (`readers.up_axis`).
    return {"source_up": None, **shared, "source_formats": kept, **joined}

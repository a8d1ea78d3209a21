"""Views of a dataset: some of its clouds, clouds held out of training, and the farthest points of every cloud."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from act3d.channel_values import recast
from act3d.data.clouds import CloudDataset, Stored
from act3d.data.frames import rotation_to_y_up
from act3d.data.rooms import UNLABELLED
from act3d.errors import InputError
from act3d.geometry import farthest_point_sample, gather

# Training draws at random from this many farthest points.
WIDER = {1024: 1200, 2048: 2400, 4096: 4800, 8192: 8192}


class Selection(CloudDataset):
    """Some clouds of a dataset, as a dataset."""

    def __init__(self, source: CloudDataset, rows: np.ndarray) -> None:
        self.source, self.chosen = source, rows.astype(np.int64)
        super().__init__(source.seed, source.normalization)
        self.name, self.classes, self.parts = source.name, source.classes, source.parts
        self.class_parts, self.fingerprint, self.meta = source.class_parts, source.fingerprint, source.meta
        self.points, self.labels = source.points, source.labels[self.chosen]
        self.names = [source.names[row] for row in self.chosen]
        self.split = [source.split[row] for row in self.chosen] if source.split else []
        self.weights = None if source.weights is None else source.weights[self.chosen]
        self.shards = None if source.shards is None else source.shards._replace(of=source.shards.of[self.chosen])
        self.channels = source.channels

    def about(self) -> dict[str, Any]:
        return self.source.about()

    def class_words(self) -> list[str]:
        return self.source.class_words()

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self.source.read(self.chosen[rows], epoch)

    def prefetch(self, rows: np.ndarray) -> None:
        self.source.prefetch(self.chosen[rows])

    def columns(self) -> dict[str, list[str]]:
        return {name: [values[row] for row in self.chosen] for name, values in self.source.columns().items()}

    def stored_alike(self) -> Stored | None:
        return self.source.stored_alike()

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return self.source.read_whole(self.chosen[rows])


class Turned(Selection):
    """The clouds of a dataset, turned from one up axis to another.

    Args:
        source: the dataset.
        up: the up axis of its clouds.
        wanted: the up axis that they get.
    """

    def __init__(self, source: CloudDataset, up: str, wanted: str) -> None:
        super().__init__(source, np.arange(len(source)))
        self.rotation = (rotation_to_y_up(wanted).T @ rotation_to_y_up(up)).astype(np.float32)
        self.meta = {**source.meta, "up": wanted}

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        points, parts = super().read(rows, epoch)
        if not self.channels:
            return points @ self.rotation.T, parts
        turned = points.copy()
        for start in (0, 3) if "normal" in self.channels else (0,):  # normals come first, see `act3d.channels`
            turned[..., start : start + 3] = points[..., start : start + 3] @ self.rotation.T
        return turned, parts

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points, parts = super().read_whole(rows)
        return (points @ self.rotation.T).astype(points.dtype), parts


class WithChannels(Selection):
    """The clouds of a dataset with other channels: those that it does not give are 0, not known."""

    def __init__(self, source: CloudDataset, channels: Sequence[str]) -> None:
        super().__init__(source, np.arange(len(source)))
        self.channels = tuple(channels)
        self.meta = {**source.meta, "channels": list(channels)}

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        points, parts = super().read(rows, epoch)
        beside = recast(points[..., 3:], self.source.channels, self.channels)
        return np.concatenate([points[..., :3], beside], axis=-1), parts

    def stored_alike(self) -> Stored | None:
        return None


class PartClouds(Selection):
    """Shapes of a dataset with part labels, without those that have no category or a single part.

    Args:
        source: The dataset.
        leave_out: Names of classes whose shapes are left out, and of parts whose points become unlabelled.

    Raises:
        InputError: No part labels, a name that is neither class nor part, or nothing left.
    """

    def __init__(self, source: CloudDataset, leave_out: str = "") -> None:
        names = [name for name in leave_out.split("+") if name]
        unknown = [name for name in names if name not in source.classes and name not in source.parts]
        if unknown:
            raise InputError(f"leave_out: {unknown[0]!r} is neither a class nor a part of {source.name}")
        if not source.parts:
            raise InputError(f"{source.name} has no part labels")
        without = [source.parts.index(name) for name in names if name in source.parts]
        kept = {cls: [part for part in ids if part not in without] for cls, ids in source.class_parts.items()}
        wanted = [i for i, cls in enumerate(source.classes) if cls not in names and kept.get(cls)]
        rows = np.flatnonzero(np.isin(source.labels, wanted))
        if not len(rows):
            raise InputError(f"{source.name} has no labelled shapes left")
        super().__init__(source, rows)
        self.class_parts = {source.classes[i]: kept[source.classes[i]] for i in wanted}
        self._without = without

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        points, parts = super().read(rows, epoch)
        assert parts is not None
        return points, np.where(np.isin(parts, self._without), UNLABELLED, parts)

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points, parts = super().read_whole(rows)
        assert parts is not None
        return points, np.where(np.isin(parts, self._without), UNLABELLED, parts.astype(np.int16))


def holdout_rows(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the rows to keep out: `fraction` of every class at random, one at least where a class has two."""
    rng = np.random.default_rng([seed % 2**32, 0x686F6C64])
    held = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held.append(rows[:count])
    return np.sort(np.concatenate(held))


def hold_out(clouds: CloudDataset, fraction: float, seed: int, instead: str) -> tuple[Selection, Selection]:
    """Return what stays, and what is kept out: see `holdout_rows`.

    Raises:
        InputError: too few clouds; recommends `instead`.
    """
    held = holdout_rows(clouds.labels, fraction, seed)
    if not 0 < len(held) < len(clouds):
        raise InputError(f"data.val_split: {len(clouds)} clouds are too few to keep some out; use {instead}")
    rest = np.setdiff1d(np.arange(len(clouds)), held)
    return Selection(clouds, rest), Selection(clouds, held)


def spread_points(clouds: CloudDataset, count: int) -> Tensor:
    """Points (B, N, 3) of `count` clouds, or of all if there are fewer, evenly spread over the dataset."""
    rows = np.linspace(0, len(clouds) - 1, min(count, len(clouds))).round().astype(int)
    points: Tensor = clouds.fetch(rows.tolist(), 0)["points"]
    return points


def widened(count: int, stored: int) -> int:
    """How many farthest points `count` are drawn from: 1200 of 1024 and so on, never more than are stored."""
    return min(stored, WIDER.get(count, math.ceil(count * 1200 / 1024)))


def draw_training(points: Tensor, count: int) -> Tensor:
    """Farthest points from a random one on, then a random choice of them in random order.

    Args:
        points: Stored points, Tensor with shape (B, P, 3).
        count: N.

    Returns:
        Tensor with shape (B, N, 3).
    """
    stored = points.shape[1]
    wide = widened(count, stored)
    if wide < stored:
        start = int(torch.randint(stored, ()))
        points = gather(points, farthest_point_sample(coordinates(points), wide, start))
    return draw_random(points, count)


def draw_random(points: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """A random choice of points in random order, for every cloud its own: (B, P, 3) -> (B, N, 3)."""
    batch, stored = points.shape[:2]
    # Ranks from the generator's device, which may be the CPU although the points are elsewhere.
    device = points.device if generator is None else generator.device
    order = torch.rand(batch, stored, generator=generator, device=device).argsort(dim=1)[:, :count]
    return gather(points, order.to(points.device))


def draw_test(points: Tensor, count: int) -> Tensor:
    """Farthest points from the first one on: (B, P, 3) -> (B, N, 3)."""
    if points.shape[1] == count:
        return points
    return gather(points, farthest_point_sample(coordinates(points), count))


def coordinates(points: Tensor) -> Tensor:
    """x, y, z (B, N, 3) of points that may have channels behind them."""
    return points if points.shape[-1] == 3 else points[..., :3].contiguous()


def fixed_points(clouds: CloudDataset, count: int, batch_size: int = 64, limit: int = 0) -> Tensor:
    """`count` farthest points of every cloud, the same in every call: Tensor with shape (S, count, 3) on the CPU.

    Raises:
        InputError: fewer points are stored.
    """
    if clouds.points < count:
        raise InputError(f"{count} points were asked for; {clouds.name} stores {clouds.points} a cloud")
    rows = range(min(len(clouds), limit) if limit else len(clouds))
    parts = [
        draw_test(clouds.fetch(list(rows[start : start + batch_size]), 0)["points"], count)
        for start in range(0, len(rows), batch_size)
    ]
    return torch.cat(parts)


class Farthest(CloudDataset):
    """The farthest points of every cloud that training draws from, found once and kept in memory.

    Args:
        source: Clouds with all their stored points.
        count: Points that training will draw from each.
        batch_size: Clouds sampled at once.
    """

    def __init__(self, source: CloudDataset, count: int, batch_size: int = 64):
        super().__init__(source.seed, "none")  # the source has normalized them
        self.kept = fixed_points(source, widened(count, source.points), batch_size).numpy()
        self.name, self.fingerprint, self.meta = source.name, source.fingerprint, source.meta
        self.classes, self.parts, self.class_parts = source.classes, source.parts, source.class_parts
        self.names, self.labels, self.points = source.names, source.labels, self.kept.shape[1]
        self.channels = source.channels

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, None]:
        return self.kept[rows], None

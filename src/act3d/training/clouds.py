"""Which clouds a run trains on, which it validates on, and in what batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from act3d.config import DataConfig
from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset, Stored
from act3d.data.loading import BatchPlan, CloudLoader, make_loader
from act3d.data.resident import ResidentLoader, is_resident
from act3d.errors import InputError
from act3d.training import parallel

Loader = CloudLoader | ResidentLoader


class Selection(CloudDataset):
    """Some clouds of a dataset, as a dataset."""

    def __init__(self, source: CloudDataset, rows: np.ndarray) -> None:
        self.source, self.chosen = source, rows.astype(np.int64)
        super().__init__(source.seed, source.normalization)
        self.name, self.classes, self.parts = source.name, source.classes, source.parts
        self.class_parts, self.fingerprint, self.meta = source.class_parts, source.fingerprint, source.meta
        self.points, self.labels = source.points, source.labels[self.chosen]
        self.names = [source.names[row] for row in self.chosen]

    def read(self, rows: np.ndarray, epoch: int) -> tuple[Tensor, Tensor | None]:
        return self.source.read(self.chosen[rows], epoch)

    def stored_alike(self) -> Stored | None:
        return self.source.stored_alike()

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return self.source.read_whole(self.chosen[rows])


class Clouds(NamedTuple):
    """Training clouds, and clouds kept out of training to validate on (None where there are none)."""

    train: CloudDataset
    held_out: CloudDataset | None


class Remaining:
    """One epoch of a loader from a batch on: what Lightning iterates over. Its length is what is left."""

    def __init__(self, loader: Loader, epoch: int, start: int) -> None:
        self.loader, self.epoch, self.start = loader, epoch, start

    def __len__(self) -> int:
        return len(self.loader) - self.start

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.loader.set_epoch(self.epoch)
        self.loader.start_at(self.start)
        yield from self.loader


def open_split(data: DataConfig, seed: int, split: str, root: str = "") -> CloudDataset:
    """Open a split of the dataset that `data` describes, or of another one with the same treatment."""
    normalize = None if data.normalize == "auto" else data.normalize
    return open_dataset(root or data.root, split, data.points, seed, normalize, data.subset or None)


def open_clouds(data: DataConfig, seed: int) -> Clouds:
    """Open the clouds of a run; "holdout" keeps a share of every class out of training.

    Raises:
        InputError: nothing there, no such split, or too few clouds.
    """
    train = open_split(data, seed, data.split)
    if data.val_split == "none":
        return Clouds(train, None)
    if data.val_split != "holdout":
        return Clouds(train, open_split(data, seed, data.val_split))
    held = holdout_rows(train.labels, data.val_fraction, seed)
    if not 0 < len(held) < len(train):
        raise InputError(f"data.val_split: {len(train)} clouds are too few to keep some out; use data.val_split=none")
    rest = np.setdiff1d(np.arange(len(train)), held)
    return Clouds(Selection(train, rest), Selection(train, held))


def spread_points(clouds: CloudDataset, count: int) -> Tensor:
    """Points (B, N, 3) of `count` clouds, or of all if there are fewer, evenly spread over the dataset."""
    rows = np.linspace(0, len(clouds) - 1, min(count, len(clouds))).round().astype(int)
    points: Tensor = clouds.fetch(rows.tolist(), 0)["points"]
    return points


def holdout_rows(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the rows to keep out: `fraction` of every class at random, one at least where a class has two."""
    rng = np.random.default_rng([seed % 2**32, 0x686F6C64])
    held = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held.append(rows[:count])
    return np.sort(np.concatenate(held))


def train_loader(
    clouds: CloudDataset, data: DataConfig, seed: int, world: int, device: torch.device, was: str = ""
) -> Loader:
    """Return the loader of one process; its last batch is dropped when it is not full and not the only one.

    Args:
        clouds: training clouds.
        data: batch size, workers, and where the clouds live.
        seed: seed of the order.
        world: number of processes.
        device: where this process trains.
        was: `lives_on` of the loader that the run began with, which "auto" keeps to; empty for a new run.

    Raises:
        ConfigError: the clouds cannot live on the device though they are to, or too few for a batch.
    """
    # Batch statistics of a handful of clouds would be poor, so a last short batch is left out where there are others.
    drop_last, rank = len(clouds) // world >= data.batch_size, parallel.rank()
    # A run that began on the host draws other points than one on the device: it stays there.
    elsewhere = data.resident == "auto" and was not in ("", device.type)
    if not elsewhere and is_resident(data.resident, clouds, device):
        plan = BatchPlan(
            len(clouds), data.batch_size, shuffle=True, seed=seed, drop_last=drop_last, rank=rank, world=world
        )
        return ResidentLoader(clouds, plan, device)
    return make_loader(
        clouds,
        data.batch_size,
        shuffle=True,
        seed=seed,
        workers=data.workers,
        drop_last=drop_last,
        rank=rank,
        world=world,
        pin_memory=device.type == "cuda",
    )


def eval_batches(clouds: CloudDataset, batch_size: int, limit: int = 0) -> Iterator[dict[str, Tensor]]:
    """Yield this process's share of all clouds once, always with the same points; at most `limit` batches if given."""
    rank, world = parallel.rank(), parallel.world()
    rows = np.arange(len(clouds))[rank::world]
    for number, start in enumerate(range(0, len(rows), batch_size)):
        if limit and number >= limit:
            return
        yield clouds.fetch(rows[start : start + batch_size].tolist(), 0)

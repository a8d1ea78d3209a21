"""Which clouds a run trains on, which it validates on, and in what batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from act3d.config import DataConfig
from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.loading import CloudLoader, make_loader
from act3d.errors import InputError
from act3d.training import parallel


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


class Clouds(NamedTuple):
    """Training clouds, and clouds kept out of training to validate on (None where there are none)."""

    train: CloudDataset
    held_out: CloudDataset | None


class Remaining:
    """One epoch of a loader from a batch on: what Lightning iterates over. Its length is what is left."""

    def __init__(self, loader: CloudLoader, epoch: int, start: int) -> None:
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


def holdout_rows(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the rows to keep out: `fraction` of every class at random, one at least where a class has two."""
    rng = np.random.default_rng([seed % 2**32, 0x686F6C64])
    held = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held.append(rows[:count])
    return np.sort(np.concatenate(held))


def train_loader(clouds: CloudDataset, data: DataConfig, seed: int, world: int, pin: bool) -> CloudLoader:
    """Return the loader of one process; its last batch is dropped when it is not full and not the only one."""
    # Batch statistics of a handful of clouds would be poor, so a last short batch is left out where there are others.
    return make_loader(
        clouds,
        data.batch_size,
        shuffle=True,
        seed=seed,
        workers=data.workers,
        drop_last=len(clouds) // world >= data.batch_size,
        rank=parallel.rank(),
        world=world,
        pin_memory=pin,
    )


def eval_batches(clouds: CloudDataset, batch_size: int, limit: int = 0) -> Iterator[dict[str, Tensor]]:
    """Yield this process's share of all clouds once, always with the same points; at most `limit` batches if given."""
    rank, world = parallel.rank(), parallel.world()
    rows = np.arange(len(clouds))[rank::world]
    for number, start in enumerate(range(0, len(rows), batch_size)):
        if limit and number >= limit:
            return
        yield clouds.fetch(rows[start : start + batch_size].tolist(), 0)

"""Batches in an order that depends on (seed, epoch) alone, from any batch of the epoch on."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from act3d.data.clouds import CloudDataset, Shards
from act3d.data.shard_order import shard_order
from act3d.errors import Act3dError, ConfigError
from act3d.remote import shards_folder

BUFFER = 8192  # clouds within which a dataset is shuffled that is fetched shard by shard
AHEAD = 8  # batches whose shards are fetched while others are trained on


class BatchKey(NamedTuple):
    """The clouds of a batch, and the epoch (it determines the random subset of their points)."""

    epoch: int
    indices: list[int]


class BatchPlan(Sampler[BatchKey]):
    """The batches of one process in one epoch.

    Training (`shuffle`): one permutation of all clouds by (seed, epoch), distributed over the processes; if their
    number does not divide it, its last clouds are left out, so all processes take the same steps. Batch k of all
    processes holds the clouds that batch k of one process with the whole batch size would. With `weights` a cloud of
    weight 2 is in it twice, and of those with weight 0.5 every epoch draws half anew. Clouds that are fetched shard by
    shard (`shards`) come in the order of `shard_order`, which every process reads other shards in. Evaluation: no cloud
    is seen twice, and the last processes may have one cloud less.

    Args:
        length: Number of clouds.
        batch_size: Clouds of a batch.
        shuffle: Training order; False keeps the dataset's.
        seed: Seed of the order.
        drop_last: Leave out a last batch that is not full.
        rank: This process among `world`.
        world: Number of processes.
        weights: How often each cloud comes (length,); None = once.
        shards: Where clouds lie that are fetched.
        buffer: Clouds within which these are shuffled.
        lanes: Processes that read shards of their own; 0 = `world`. A run that is resumed keeps the number that it
            began with, and so its order, whatever `world` is now.

    Attributes:
        start_batch: The next iteration begins at this batch of the epoch; later ones at 0 again. `len` is always the
            number of batches in a whole epoch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        weights: np.ndarray | None = None,
        shards: Shards | None = None,
        buffer: int = BUFFER,
        lanes: int = 0,
    ):
        if batch_size < 1:
            raise ConfigError(f"data.batch_size is {batch_size}; it must be at least 1")
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} is outside 0..{world - 1}")
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.drop_last, self.rank, self.world = drop_last, rank, world
        self.weights = weights if shuffle else None
        self.shards, self.buffer, self.lanes = shards, buffer, lanes or world
        self.seen = epoch_length(length, self.weights)
        self.epoch = 0
        self.start_batch = 0
        if len(self) == 0:
            raise ConfigError(f"data.batch_size {batch_size} x {world} leaves no full batch of {self.seen} clouds")

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def _own(self) -> int:
        """How many clouds this process sees in an epoch."""
        if self.shuffle:
            return self.seen // self.world
        return len(range(self.rank, self.length, self.world))

    def __len__(self) -> int:
        return self._own() // self.batch_size if self.drop_last else -(-self._own() // self.batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        keys = self.upcoming()
        self.start_batch = 0
        yield from keys

    def upcoming(self) -> Iterator[BatchKey]:
        """Return the batches of the next iteration, without beginning it."""
        mine, epoch, size = self._order()[self.rank :: self.world][: self._own()], self.epoch, self.batch_size
        places = range(self.start_batch, len(self))
        return (BatchKey(epoch, mine[place * size : (place + 1) * size].tolist()) for place in places)

    def _order(self) -> np.ndarray:
        """The clouds of this epoch, over all processes."""
        if not self.shuffle:
            return np.arange(self.length)
        rng = np.random.default_rng([self.seed % 2**32, self.epoch])
        every = np.arange(self.length) if self.weights is None else _drawn(self.weights, rng)
        if self.shards is None:
            return rng.permutation(every)
        return shard_order(every, self.shards.of[every], self.lanes, self.buffer, rng)


def epoch_length(clouds: int, weights: np.ndarray | None) -> int:
    """How many clouds an epoch of training has, each counted as often as it comes."""
    if weights is None:
        return clouds
    return sum(len(rows) * whole + some for rows, whole, some in _shares(weights))


def _drawn(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clouds of an epoch, each as often as it comes."""
    parts = []
    for rows, whole, some in _shares(weights):
        parts += [np.repeat(rows, whole), rng.choice(rows, some, replace=False)]
    return np.concatenate(parts)


def _shares(weights: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
    """For every weight: the clouds that have it, how often each comes for sure, and how many of them come once more."""
    for weight in np.unique(weights):
        rows = np.flatnonzero(weights == weight)
        whole = int(weight)
        yield rows, whole, round((float(weight) - whole) * len(rows))


class _Batches(Dataset[dict[str, Tensor]]):
    """Lets the loader ask for a whole batch at a time; the key carries the epoch into worker processes."""

    def __init__(self, clouds: CloudDataset):
        self.clouds = clouds

    def __getitem__(self, key: BatchKey) -> Any:
        try:
            return self.clouds.fetch(key.indices, key.epoch)
        except Act3dError as error:  # torch would raise it with the worker's traceback for its text
            return error


class CloudLoader(DataLoader[dict[str, Tensor]]):
    """A `DataLoader` over a `BatchPlan`, which is its `sampler`."""

    plan: BatchPlan
    clouds: CloudDataset
    lives_on = "host"  # as `ResidentLoader` says where its clouds are

    @property
    def place(self) -> str:
        """Where the clouds are, in words."""
        return "read on the host" if self.clouds.shards is None else f"fetched to {shards_folder()}"

    def __iter__(self) -> Any:
        # What a DataLoader takes from torch's generator whenever it begins, except where its workers are there already:
        # so what is drawn after it is the same for any number of workers.
        torch.empty((), dtype=torch.int64).random_()
        ahead: Iterator[BatchKey] = iter(()) if self.clouds.shards is None else self.plan.upcoming()
        batches = super().__iter__()
        self._prefetch(islice(ahead, AHEAD))
        for batch in batches:
            self._prefetch(islice(ahead, 1))
            if isinstance(batch, Act3dError):
                raise batch
            yield batch

    def _prefetch(self, keys: Iterator[BatchKey]) -> None:
        for key in keys:
            self.clouds.prefetch(np.asarray(key.indices))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.plan.set_epoch(epoch)

    def start_at(self, batch: int) -> None:
        """Begin the next iteration, and only that one, at this batch of the epoch."""
        self.plan.start_batch = batch


def make_loader(
    dataset: CloudDataset,
    batch_size: int,
    shuffle: bool = True,
    seed: int = 0,
    workers: int = 0,
    drop_last: bool = False,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
    buffer: int = BUFFER,
    lanes: int = 0,
) -> CloudLoader:
    """A loader of batches `{"points" (B, N, 3), "label" (B,), "index" (B,)[, "parts" (B, N)]}`.

    Args:
        dataset: The clouds.
        batch_size: Clouds per batch and process.
        shuffle: Training order (see `BatchPlan`); False keeps the dataset's order.
        seed: Seed of the order. The random subset of points follows the dataset's own seed.
        workers: Worker processes; 0 reads in this one, which is fastest while the data fits in memory.
        drop_last: Leave out a last batch that is not full.
        rank: This process among `world`.
        world: Number of processes.
        pin_memory: Page-locked batches for faster copies to a GPU.
        buffer, lanes: Of clouds that are fetched shard by shard, see `BatchPlan`.

    The batches are the same for any number of workers.
    """
    plan = BatchPlan(
        len(dataset), batch_size, shuffle, seed, drop_last, rank, world, dataset.weights, dataset.shards, buffer, lanes
    )
    options: dict[str, Any] = {"persistent_workers": True} if workers else {}
    options["generator"] = torch.Generator()
    # batch_size None: a key of the plan is a whole batch already.
    loader = CloudLoader(
        _Batches(dataset), sampler=plan, batch_size=None, num_workers=workers, pin_memory=pin_memory, **options
    )
    loader.plan = plan
    loader.clouds = dataset
    return loader

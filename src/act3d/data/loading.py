"""Batches in an order that depends on (seed, epoch) alone, from any batch of the epoch on."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from act3d.data.clouds import CloudDataset
from act3d.errors import Act3dError, ConfigError


class BatchKey(NamedTuple):
    """The clouds of a batch, and the epoch (it determines the random subset of their points)."""

    epoch: int
    indices: list[int]


class BatchPlan(Sampler[BatchKey]):
    """The batches of one process in one epoch.

    Training (`shuffle`): one permutation of all clouds by (seed, epoch), distributed over the processes; if their
    number does not divide it, its last clouds are left out, so all processes take the same steps. Batch k of all
    processes holds the clouds that batch k of one process with the whole batch size would. With `weights` a cloud of
    weight 2 is in it twice, and of those with weight 0.5 every epoch draws half anew. Evaluation: no cloud is seen
    twice, and the last processes may have one cloud less.

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
    ):
        if batch_size < 1:
            raise ConfigError(f"data.batch_size is {batch_size}; it must be at least 1")
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} is outside 0..{world - 1}")
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.drop_last, self.rank, self.world = drop_last, rank, world
        self.weights = weights if shuffle else None
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
        mine = self._order()[self.rank :: self.world][: self._own()]
        start, self.start_batch = self.start_batch, 0
        for batch in range(start, len(self)):
            yield BatchKey(self.epoch, mine[batch * self.batch_size : (batch + 1) * self.batch_size].tolist())

    def _order(self) -> np.ndarray:
        """The clouds of this epoch, over all processes."""
        if not self.shuffle:
            return np.arange(self.length)
        rng = np.random.default_rng([self.seed % 2**32, self.epoch])
        if self.weights is None:
            return rng.permutation(self.length)
        drawn = []
        for rows, whole, some in _shares(self.weights):
            drawn += [np.repeat(rows, whole), rng.choice(rows, some, replace=False)]
        return rng.permutation(np.concatenate(drawn))


def epoch_length(clouds: int, weights: np.ndarray | None) -> int:
    """How many clouds an epoch of training has, each counted as often as it comes."""
    if weights is None:
        return clouds
    return sum(len(rows) * whole + some for rows, whole, some in _shares(weights))


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
    lives_on, place = "host", "read on the host"  # as `ResidentLoader` says where its clouds are

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, Act3dError):
                raise batch
            yield batch

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

    The batches are the same for any number of workers.
    """
    plan = BatchPlan(len(dataset), batch_size, shuffle, seed, drop_last, rank, world, dataset.weights)
    options: dict[str, Any] = {"persistent_workers": True} if workers else {}
    # batch_size None: a key of the plan is a whole batch already.
    loader = CloudLoader(
        _Batches(dataset), sampler=plan, batch_size=None, num_workers=workers, pin_memory=pin_memory, **options
    )
    loader.plan = plan
    loader.clouds = dataset
    return loader

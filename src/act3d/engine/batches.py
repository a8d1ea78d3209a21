"""Which clouds a run trains on, which it validates on, and in what batches."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from act3d.channels import width_of
from act3d.data.clouds import CloudDataset
from act3d.data.loading import BatchPlan, epoch_length, make_loader
from act3d.data.opening import open_for_model
from act3d.data.pool import Pool
from act3d.data.resident import SHARE, ResidentLoader, is_resident
from act3d.data.shard_order import check_fits
from act3d.data.views import hold_out
from act3d.engine import processes
from act3d.errors import NoSplit
from act3d.files import folders_of
from act3d.settings.data import DataConfig, PoolConfig


class Loader(Protocol):
    """This process's batches of one epoch after the other, from any batch on; `len` counts those of a whole epoch."""

    @property
    def lives_on(self) -> str:
        """Where the clouds are: "host", "cpu" or "cuda"."""

    @property
    def place(self) -> str:
        """The same in words."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""

    def start_at(self, batch: int) -> None:
        """Begin the next iteration, and only that one, at this batch of the epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[dict[str, Tensor]]: ...


class Clouds(NamedTuple):
    """Training clouds, and clouds kept out of training to validate on (None where there are none)."""

    train: CloudDataset
    held_out: CloudDataset | None


def open_split(data: DataConfig, seed: int, split: str, root: str = "") -> CloudDataset:
    """Open a split of the dataset or datasets that `data` describes, or of another one with the same treatment.

    Of several splits, joined by "+", each of several datasets gives those that it has.

    Raises:
        InputError: nothing there that can be opened, a dataset with none of the splits, or a split that none has.
    """
    roots, wanted = [root] if root else folders_of(data.root), split.split("+")
    opened: list[CloudDataset] = []
    found: set[str] = set()
    refused = None
    for each in roots:
        there = wanted
        try:
            clouds = _open_one(data, seed, each, split)
        except NoSplit as error:
            there, refused = [name for name in wanted if name in error.known], error
            if not there:
                raise
            clouds = _open_one(data, seed, each, "+".join(there))
        opened.append(clouds)
        found.update(there)
    if refused and not found.issuperset(wanted):
        raise refused
    weights = data.weights if isinstance(data, PoolConfig) else ()
    return opened[0] if len(opened) == 1 else Pool(opened, weights)


def _open_one(data: DataConfig, seed: int, root: str, split: str) -> CloudDataset:
    return open_for_model(
        {}, root, split, data.points, data.normalize, data.subset, seed=seed, channels=data.channels_beside
    ).clouds


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
    return Clouds(*hold_out(train, data.val_fraction, seed, "data.val_split=none"))


def train_loader(
    clouds: CloudDataset, data: DataConfig, seed: int, world: int, device: torch.device, was: str = "", lanes: int = 0
) -> Loader:
    """Return the loader of one process; its last batch is dropped when it is not full and not the only one.

    Args:
        clouds: training clouds.
        data: batch size, workers, and where the clouds are kept.
        seed: seed of the order.
        world: number of processes.
        device: where this process trains.
        was: `lives_on` of the loader that the run began with, which "auto" keeps to; empty for a new run.
        lanes: processes that the run began with, see `BatchPlan`; 0 for a new run.

    Raises:
        ConfigError: the clouds cannot be kept on the device though they must be, too few for a batch, or their copies
            take more of the disk than they may.
    """
    # Batch statistics of a handful of clouds would be poor, so a last short batch is left out where there are others.
    drop_last = epoch_length(len(clouds), clouds.weights) // world >= data.batch_size
    rank = processes.rank()
    # A run that began on the host draws other points than one on the device: it stays there.
    elsewhere = data.resident == "auto" and was not in ("", device.type)
    if not elsewhere and is_resident(data.resident, clouds, device):
        plan = BatchPlan(
            len(clouds),
            data.batch_size,
            shuffle=True,
            seed=seed,
            drop_last=drop_last,
            rank=rank,
            world=world,
            weights=clouds.weights,
            shards=clouds.shards,
            buffer=data.shuffle_buffer,
            lanes=lanes,
        )
        return ResidentLoader(clouds, plan, device)
    if clouds.shards is not None:
        check_fits(clouds.shards, data.shuffle_buffer, lanes or world, clouds.name)
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
        buffer=data.shuffle_buffer,
        lanes=lanes,
    )


class EvaluationBatches:
    """Clouds to evaluate on, always with the same points. On CUDA they stay on the device after their first pass.

    Args:
        choice: `data.resident`: "always" keeps them on any device, "never" on none.
    """

    def __init__(self, choice: str) -> None:
        self.choice = choice
        self._kept: dict[tuple[int, int, int], tuple[CloudDataset, list[dict[str, Tensor]]]] = {}

    def of(
        self, clouds: CloudDataset, batch_size: int, limit: int, device: torch.device
    ) -> Iterator[dict[str, Tensor]]:
        """Yield what `eval_batches` yields, the points on `device`."""
        key = (id(clouds), batch_size, limit)
        if key in self._kept:
            yield from self._kept[key][1]
            return
        found: list[dict[str, Tensor]] | None = [] if self._fits(clouds, device) else None
        for batch in eval_batches(clouds, batch_size, limit):
            batch = {**batch, "points": batch["points"].to(device)}
            if found is not None:
                found.append(batch)
            yield batch
        if found is not None:
            self._kept[key] = clouds, found  # with the clouds, so that no others get their id

    def _fits(self, clouds: CloudDataset, device: torch.device) -> bool:
        if self.choice != "auto" or device.type != "cuda":
            return self.choice == "always"
        needed = (
            len(clouds) // processes.world() * clouds.points * (3 + width_of(clouds.channels)) * torch.float32.itemsize
        )
        return needed <= SHARE * torch.cuda.mem_get_info(device)[0]


def eval_batches(clouds: CloudDataset, batch_size: int, limit: int = 0) -> Iterator[dict[str, Tensor]]:
    """Yield this process's share of all clouds once, always with the same points; at most `limit` batches if given."""
    rank, world = processes.rank(), processes.world()
    rows = np.arange(len(clouds))[rank::world]
    for number, start in enumerate(range(0, len(rows), batch_size)):
        if limit and number >= limit:
            return
        yield clouds.fetch(rows[start : start + batch_size].tolist(), 0)

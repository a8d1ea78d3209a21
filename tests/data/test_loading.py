"""Order of batches: by (seed, epoch), over workers and processes, from the middle of an epoch."""

from pathlib import Path

import pytest
import torch

from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.loading import make_loader
from act3d.errors import ConfigError
from tests.data.helpers import write_packed


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CloudDataset:
    root: Path = write_packed(tmp_path_factory.mktemp("loading") / "set", clouds=30)
    return open_dataset(root, points=16)


def same(first: list[dict], second: list[dict]) -> bool:
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True)
    )


def test_every_cloud_once_an_epoch_in_another_order(data: CloudDataset) -> None:
    loader = make_loader(data, 8)
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader) == 4
        epochs.append(torch.cat([batch["index"] for batch in batches]).tolist())
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(29))
    assert epochs[0] != epochs[1]


def test_same_seed_and_epoch_give_the_same_batches_whatever_came_before(data: CloudDataset) -> None:
    first, second = make_loader(data, 8, seed=3), make_loader(data, 8, seed=3)
    list(second)
    torch.rand(7)
    for loader in (first, second):
        loader.set_epoch(4)
    assert same(list(first), list(second))
    other = make_loader(data, 8, seed=4)
    other.set_epoch(4)
    assert not same(list(first), list(other))


def test_start_in_the_middle_of_an_epoch(data: CloudDataset) -> None:
    loader = make_loader(data, 4, seed=1)
    loader.set_epoch(2)
    whole = list(loader)
    resumed = make_loader(data, 4, seed=1)
    resumed.set_epoch(2)
    resumed.start_at(5)
    assert len(resumed) == len(whole) == 8
    assert same(list(resumed), whole[5:])
    # Only once: the next epoch is whole again.
    assert same(list(resumed), whole)


def test_workers_give_the_same_batches_in_every_epoch(data: CloudDataset) -> None:
    alone, many = make_loader(data, 8), make_loader(data, 8, workers=2)
    for epoch in (0, 1):
        for loader in (alone, many):
            loader.set_epoch(epoch)
            loader.start_at(epoch)
        assert same(list(alone), list(many))


def test_workers_leave_the_same_random_numbers_to_what_comes_after(data: CloudDataset) -> None:
    drawn = []
    for workers in (0, 1):
        loader = make_loader(data, 8, workers=workers)
        for _ in range(2):  # the second time workers are there already
            torch.manual_seed(3)
            next(iter(loader))
            drawn.append(torch.rand(4).tolist())
    assert drawn == [drawn[0]] * 4
    torch.manual_seed(3)
    torch.empty((), dtype=torch.int64).random_()  # as torch's own DataLoader leaves them
    assert torch.rand(4).tolist() == drawn[0]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_processes_share_an_epoch(data: CloudDataset, world: int, drop_last: bool) -> None:
    loaders = [make_loader(data, 4, drop_last=drop_last, rank=rank, world=world) for rank in range(world)]
    assert len({len(loader) for loader in loaders}) == 1
    parts = [torch.cat([batch["index"] for batch in loader]).tolist() for loader in loaders]
    assert len({len(part) for part in parts}) == 1
    seen = [index for part in parts for index in part]
    assert len(seen) == len(set(seen))  # none twice
    if drop_last:
        assert len(seen) == len(loaders[0]) * 4 * world
    else:
        assert 29 - len(seen) < world


@pytest.mark.parametrize("world", [2, 4])
def test_processes_have_the_batches_of_one_process(data: CloudDataset, world: int) -> None:
    alone = make_loader(data, 8, drop_last=True)
    parts = [make_loader(data, 8 // world, drop_last=True, rank=rank, world=world) for rank in range(world)]
    for whole, *shares in zip(alone, *parts, strict=True):
        assert sorted(whole["index"].tolist()) == sorted(i for share in shares for i in share["index"].tolist())


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_every_cloud_exactly_once(data: CloudDataset, world: int) -> None:
    loaders = [make_loader(data, 4, shuffle=False, rank=rank, world=world) for rank in range(world)]
    seen = [index for loader in loaders for batch in loader for index in batch["index"].tolist()]
    assert sorted(seen) == list(range(29))
    if world == 1:
        assert seen == list(range(29))


def test_impossible_settings(data: CloudDataset) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        make_loader(data, 0)
    with pytest.raises(ConfigError, match="no full batch"):
        make_loader(data, 64, drop_last=True)
    with pytest.raises(ConfigError, match="rank 2"):
        make_loader(data, 4, rank=2, world=2)


def test_the_epoch_reaches_the_plan(data: CloudDataset) -> None:
    loader = make_loader(data, 8)
    loader.set_epoch(7)
    assert loader.plan.epoch == 7

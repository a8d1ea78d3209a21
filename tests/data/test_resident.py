"""Clouds on the device: the batches of the host's loader, without the host. Here the device is the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from act3d.data import open_dataset
from act3d.data.arrays import ArrayClouds
from act3d.data.clouds import CloudDataset
from act3d.data.loading import BatchPlan, make_loader
from act3d.data.resident import ResidentLoader, bytes_needed, is_resident
from act3d.errors import ConfigError, InputError
from tests.data.helpers import write_packed
from tests.data.test_shapenet55 import TRAIN, write_layout

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("resident") / "set", clouds=30)


def resident(data: CloudDataset, size: int = 8, drop_last: bool = False, rank: int = 0, world: int = 1) -> Any:
    return ResidentLoader(data, BatchPlan(len(data), size, True, 3, drop_last, rank, world), CPU)


def same(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]]) -> bool:
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True)
    )


def in_one_order(points: Tensor) -> Tensor:
    """Each cloud's points by their coordinates."""
    return torch.stack([cloud[np.lexsort(cloud.numpy().T)] for cloud in points])


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_clouds_come_in_the_order_of_the_hosts_loader(root: Path, world: int, drop_last: bool) -> None:
    data = open_dataset(root, points=16)
    for rank in range(world):
        ours = resident(data, 4, drop_last, rank, world)
        host = make_loader(data, 4, True, 3, 0, drop_last, rank, world)
        for epoch in (0, 5):
            for loader in (ours, host):
                loader.set_epoch(epoch)
            batches = list(zip(ours, host, strict=True))
            assert len(batches) == len(ours) == len(host)
            for found, wanted in batches:
                assert {k: (v.shape, v.dtype) for k, v in found.items()} == {
                    k: (v.shape, v.dtype) for k, v in wanted.items()
                }
                assert torch.equal(found["index"], wanted["index"])
                assert torch.equal(found["label"], wanted["label"])


@pytest.mark.parametrize("normalize", ["none", "unit_sphere"])
def test_all_points_of_packed_clouds_are_the_hosts_numbers(root: Path, normalize: str) -> None:
    data = open_dataset(root, "train", normalize=normalize, subset="core")
    loader = resident(data)
    assert loader.points.dtype == (torch.float32 if normalize == "none" else torch.float16)
    for found, wanted in zip(loader, make_loader(data, 8, seed=3), strict=True):
        ours, host = in_one_order(found["points"]), in_one_order(wanted["points"])
        # The mean of the same points in another order may differ in its last bit.
        torch.testing.assert_close(ours, host, rtol=0, atol=0 if normalize == "none" else 1e-6)
        assert not torch.equal(found["points"], ours)  # in random order, as the host gives them
        if normalize == "none":  # parts go with their points: see `write_packed`
            assert torch.equal(found["parts"], (found["points"][..., 0] > 1).long())


def test_arrays_that_keep_their_order_are_the_same_to_the_bit() -> None:
    stored = np.random.default_rng(0).normal(size=(10, 32, 3)).astype(np.float32)
    about = {"name": "made", "fingerprint": "f"}
    names = [str(i) for i in range(10)]
    data = ArrayClouds(stored, np.arange(10) % 3, ["a", "b", "c"], names, about)
    assert same(list(resident(data, 4)), list(make_loader(data, 4, seed=3)))
    some = ArrayClouds(stored, np.arange(10) % 3, ["a", "b", "c"], names, about, points=8, normalization="none")
    batch = next(iter(resident(some, 4)))
    whole = torch.from_numpy(stored)[batch["index"]]
    assert (torch.cdist(batch["points"], whole).argmin(2).sort(1).values.diff(dim=1) > 0).all()


def test_random_points_are_a_fair_choice_without_repeats(root: Path) -> None:
    data = open_dataset(root, points=16)
    loader = resident(data)
    picks = torch.cat([loader._picks(8, 0, batch) for batch in range(200)])
    assert (picks.sort(dim=1).values.diff(dim=1) > 0).all()
    counts = torch.bincount(picks.flatten(), minlength=64).double()
    assert (counts - 400).abs().max() < 5 * (400 * 0.75) ** 0.5  # 1600 clouds x 16 of 64
    firsts = torch.bincount(picks[:, 0], minlength=64).double()  # every place of the order is fair, too
    assert (firsts - 25).abs().max() < 5 * 25**0.5
    assert not torch.equal(loader._picks(8, 0, 0), loader._picks(8, 1, 0))
    assert not torch.equal(loader._picks(8, 0, 0), loader._picks(8, 0, 1))
    assert not torch.equal(loader._picks(8, 0, 0), resident(data, rank=1, world=2)._picks(8, 0, 0))


def test_an_epoch_resumed_in_its_middle_is_the_same(root: Path) -> None:
    data = open_dataset(root, points=16, seed=7)
    loader = resident(data, 4)
    loader.set_epoch(2)
    whole = list(loader)
    torch.rand(5)
    resumed = resident(data, 4)
    resumed.set_epoch(2)
    resumed.start_at(5)
    assert same(list(resumed), whole[5:])
    assert same(list(resumed), whole)  # only once
    resumed.start_at(len(whole))
    assert list(resumed) == []
    assert not same(list(resident(open_dataset(root, points=16, seed=8), 4)), list(resident(data, 4)))


def test_no_step_asks_the_device_for_a_number(root: Path) -> None:
    seen: list[str] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            if func is torch.ops.aten.index.Tensor:
                assert all(index is None or index.dtype == torch.int64 for index in args[1])
            return func(*args, **(kwargs or {}))

    batches = iter(resident(open_dataset(root, points=16)))
    next(batches)
    with Record():
        next(batches)
    assert any(name.startswith(("aten.sort", "aten.argsort")) for name in seen)
    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "repeat_interleave.Tensor")
    assert not [name for name in seen if name.startswith(tuple(f"aten.{wait}" for wait in waits))]


def test_shapenet55_lives_there_when_its_files_are_of_one_size(tmp_path: Path) -> None:
    base = write_layout(tmp_path, columns=6)
    data = open_dataset(base, "train", points=40)
    assert bytes_needed(data) == 3 * 40 * 3 * 4
    found, wanted = next(iter(resident(data, 3))), next(iter(make_loader(data, 3, seed=3)))
    torch.testing.assert_close(in_one_order(found["points"]), in_one_order(wanted["points"]))
    with pytest.raises(InputError, match="do not all store 41"):
        resident(open_dataset(base, "train", points=41), 3)
    np.save(base / "shapenet_pc" / TRAIN[1], np.zeros((50, 6), dtype=np.float32))
    assert open_dataset(base, "train", points=16).stored_alike() is None


def test_where_clouds_live(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset(root, points=16)
    needed = 29 * 64 * (3 * 2 + 2)  # float16 points, int16 parts
    assert bytes_needed(data) == needed
    assert [is_resident(choice, data, CPU) for choice in ("auto", "always", "never")] == [False, True, False]
    for free, expected in ((3 * needed + 3, True), (3 * needed - 3, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        assert is_resident("auto", data, CUDA) is expected
        assert is_resident("always", data, CUDA)
        assert not is_resident("never", data, CUDA)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (needed - 1, 10**12))
    with pytest.raises(
        ConfigError, match=r"data.resident: always .* random: its clouds take .* cuda:0 has .* use auto"
    ):
        is_resident("always", data, CUDA)
    monkeypatch.setattr(CloudDataset, "stored_alike", lambda self: None)
    uneven = CloudDataset()
    uneven.name = "uneven"
    assert not is_resident("auto", uneven, CUDA)
    with pytest.raises(ConfigError, match="always is not possible for uneven: its clouds differ"):
        is_resident("always", uneven, CPU)


@pytest.mark.gpu
def test_on_cuda_nothing_waits_and_the_points_are_the_hosts(root: Path) -> None:
    data = open_dataset(root)
    loader = ResidentLoader(data, BatchPlan(len(data), 4, seed=3), CUDA)
    wanted = list(make_loader(data, 4, seed=3))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = list(loader)
        again = list(loader)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert same(found, again)
    for ours, host in zip(found, wanted, strict=True):
        assert all(value.is_cuda for value in ours.values())
        assert torch.equal(ours["index"].cpu(), host["index"])
        torch.testing.assert_close(in_one_order(ours["points"].cpu()), in_one_order(host["points"]))

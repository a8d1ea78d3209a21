"""Packed datasets at URLs: the same clouds as in their folder, the order of training, copies on disk, errors."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from act3d import remote
from act3d.data import layouts, open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.loading import BatchPlan, make_loader
from act3d.data.pool import Pool
from act3d.data.shard_order import check_fits
from act3d.data.streamed import StreamedDataset
from act3d.data.views import hold_out
from act3d.errors import ConfigError, InputError, MissingDependency
from act3d.files import folders_of
from tests.data.helpers import without_checksums, write_packed
from tests.data.test_loading import same

SHARD = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("streamed") / "set", clouds=80, shard_size=SHARD)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACT3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_checked", set())
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    return tmp_path / "cache" / "shards"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are fetched, in this process."""
    names: list[str] = []
    download = remote._download

    def counted(system: object, path: str, to: Path) -> None:
        names.append(Path(path).name)
        download(system, path, to)

    monkeypatch.setattr(remote, "_download", counted)
    return names


def url_of(folder: Path) -> str:
    return folder.as_uri()


def streamed(folder: Path, points: int = 16, split: str | None = None) -> CloudDataset:
    return open_dataset(url_of(folder), split, points)


# ------------------------------------------------------------------ what is read


def test_a_url_gives_the_clouds_of_its_folder(made: Path, fetched: list[str]) -> None:
    near, far = open_dataset(made, "train", 16, seed=2), open_dataset(url_of(made), "train", 16, seed=2)
    assert isinstance(far, StreamedDataset)
    assert fetched == ["clouds.csv"]  # no shard before a cloud of it is read
    rows = [40, 3, 22, 41]
    assert same([near.fetch(rows, 5)], [far.fetch(rows, 5)])
    assert set(fetched) < {path.name for path in made.iterdir()}
    assert far.fingerprint == near.fingerprint
    assert far.meta == near.meta
    assert far.columns() == near.columns()
    assert far.stored_alike() == near.stored_alike()
    every = np.arange(len(near))
    for mine, its in zip(near.read_whole(every), far.read_whole(every), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert max(Counter(fetched).values()) == 1


def test_other_file_systems(made: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").put(str(made), "/bucket/set", recursive=True)
    near, far = open_dataset(made, points=8), open_dataset("memory://bucket/set/", points=8)
    assert same([near.fetch([0, 30], 0)], [far.fetch([0, 30], 0)])


# ------------------------------------------------------------------ the order of training


def order(data: CloudDataset, epoch: int = 0, **options: int) -> list[int]:
    plan = BatchPlan(len(data), 4, shards=data.shards, **{"buffer": 16, **options})
    plan.set_epoch(epoch)
    return [row for key in plan for row in key.indices]


def test_an_epoch_has_every_cloud_once_and_shards_stay_together(made: Path) -> None:
    data = streamed(made)
    assert data.shards is not None
    first, second = order(data), order(data, 1)
    assert sorted(first) == sorted(second) == list(range(len(data)))
    assert first != second
    assert first != order(data, seed=1)
    for rows in (first, second):
        places = {shard: np.flatnonzero(data.shards.of[rows] == shard) for shard in range(len(data.shards.sizes))}
        assert max(np.ptp(place) for place in places.values()) <= 2 * 16 + SHARD
        firsts = [place[0] for place in places.values()]
        assert firsts != sorted(firsts)  # shards come in random order
        assert any(np.ptp(place) > SHARD for place in places.values())  # and are mixed


def test_a_shard_is_fetched_once_an_epoch_where_the_disk_holds_the_buffer(
    made: Path, cache: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = streamed(made)
    size = (made / "points-00000.npy").stat().st_size + (made / "parts-00000.npy").stat().st_size
    monkeypatch.setenv("ACT3D_CACHE_GB", str(7 * size / 1e9))  # of eleven shards
    monkeypatch.setattr(CloudDataset, "prefetch", lambda self, rows: None)
    monkeypatch.setattr(StreamedDataset, "prefetch", CloudDataset.prefetch)
    loader = make_loader(data, 4, buffer=16)
    for epoch in range(2):
        fetched.clear()
        loader.set_epoch(epoch)
        assert sorted(row for batch in loader for row in batch["index"].tolist()) == list(range(len(data)))
        assert max(Counter(fetched).values()) == 1
        assert sum(path.stat().st_size for path in cache.iterdir() if path.is_file()) <= 7 * size


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_depend_on_seed_and_epoch_alone(made: Path, workers: int) -> None:
    data = streamed(made)
    whole, later = make_loader(data, 8, seed=3, buffer=16), make_loader(data, 8, seed=3, buffer=16, workers=workers)
    for loader in (whole, later):
        loader.set_epoch(2)
    batches = list(whole)
    later.start_at(4)
    assert same(list(later), batches[4:])
    assert same(list(later), batches)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_clouds_and_shards(made: Path, world: int) -> None:
    data = streamed(made)
    assert data.shards is not None
    parts = [order(data, rank=rank, world=world) for rank in range(world)]
    seen = [row for part in parts for row in part]
    assert len(seen) == len(set(seen)) == len(data) // world * world
    shards = [set(data.shards.of[part].tolist()) for part in parts]
    assert sum(map(len, shards)) <= len(data.shards.sizes) + world - 1  # at each cut two processes read one shard
    alone = order(data, lanes=world)
    assert sorted(alone) == list(range(len(data)))
    assert [alone[rank::world][: len(part)] for rank, part in enumerate(parts)] == parts  # the steps of one process


def test_what_lies_in_a_folder_comes_in_the_order_that_it_always_had(made: Path) -> None:
    data = open_dataset(made, points=16)
    assert data.shards is None
    plan = BatchPlan(len(data), 4, seed=5, shards=None)
    plan.set_epoch(3)
    wanted = np.random.default_rng([5, 3]).permutation(len(data)).tolist()
    assert [row for key in plan for row in key.indices] == wanted


def test_views_and_pools_know_the_shards(made: Path, tmp_path: Path) -> None:
    near = open_dataset(write_packed(tmp_path / "near", clouds=12, parts=False), points=16)
    far = streamed(made)
    kept, _ = hold_out(far, 0.2, 0, "")
    pool = Pool([kept, near], [2, 0.5])
    assert kept.shards is not None
    assert pool.shards is not None
    assert len(np.unique(pool.shards.of)) == len(np.unique(kept.shards.of)) + len(near)
    assert pool.shards.sizes[pool.shards.of[len(kept) :]].max() == 0
    loader = make_loader(pool, 8, buffer=16)
    counts = Counter(row for batch in loader for row in batch["index"].tolist())
    assert all(counts[row] == 2 for row in range(len(kept)))
    assert sum(counts[row] for row in range(len(kept), len(pool))) == round(len(near) / 2)
    batch = pool.fetch([0, len(kept)], 0)
    assert torch.equal(batch["points"][0], kept.fetch([0], 0)["points"][0])
    assert torch.equal(batch["points"][1], near.fetch([0], 0)["points"][0])


# ------------------------------------------------------------------ copies on disk


def test_copies_serve_the_next_opening(made: Path, tmp_path: Path, fetched: list[str]) -> None:
    streamed(made).fetch(list(range(30)), 0)
    moved = shutil.copytree(made, tmp_path / "mirror")
    streamed(made).fetch(list(range(30)), 0)
    streamed(moved).fetch(list(range(30)), 0)  # the same files at another URL
    assert max(Counter(fetched).values()) == 1


def test_a_damaged_copy_is_fetched_again(
    made: Path, cache: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = streamed(made).fetch([0, 1], 0)
    count = len(fetched)
    for path in cache.iterdir():
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    monkeypatch.setattr(remote, "_checked", set())  # as in the next process
    assert same([streamed(made).fetch([0, 1], 0)], [before])
    # A shard that is fetched ahead comes when it comes; these have to be read.
    assert {"clouds.csv", "points-00000.npy", "parts-00000.npy"} <= set(fetched[count:])


def test_room_is_made_among_copies_alone(made: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACT3D_CACHE_GB", "0.000002")
    cache.mkdir(parents=True)
    mine, half = cache / "mine.npy", cache / f".{'a' * 64}.x.tmp"
    for path in (mine, half):
        path.write_bytes(bytes(10_000))
    os.utime(half, (0, 0))
    data = streamed(made)
    data.fetch(list(range(len(data))), 0)
    assert mine.is_file()
    assert not half.exists()  # a killed process left it
    assert len([path for path in cache.iterdir() if path.is_file() and path != mine]) == 1


def test_a_cache_that_cannot_hold_the_buffer_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = streamed(made).shards
    assert shards is not None
    check_fits(shards, 8192, 4, "random")
    monkeypatch.setenv("ACT3D_CACHE_GB", "0.00001")
    check_fits(shards, 1, 1, "random")
    with pytest.raises(ConfigError, match=r"data\.shuffle_buffer: 8192 clouds of random need 3.5e-05 GB of copies"):
        check_fits(shards, 8192, 1, "random")


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_the_limit_is_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACT3D_CACHE_GB", text)
    with pytest.raises(ConfigError, match=f"ACT3D_CACHE_GB is '{text}'; it must be a number above 0"):
        remote.cache_limit()


# ------------------------------------------------------------------ what is wrong


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copy")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["missing", "cut off", "changed"])
def test_a_broken_shard_is_one_line_that_names_it(copy: Path, workers: int, damage: str) -> None:
    path = copy / "points-00004.npy"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-10] + (b"" if damage == "cut off" else b"0123456789"))
    with pytest.raises(InputError) as caught:
        list(make_loader(streamed(copy), 4, workers=workers))
    changed = "was changed after it was written (its checksum differs); upload it again"
    assert str(caught.value) == f"{url_of(path)} {'is missing' if damage == 'missing' else changed}"
    (found,) = layouts.check_folder(url_of(copy))
    assert found.problems == [str(caught.value)]


def test_check_data_of_a_url(made: Path) -> None:
    (near,), (far,) = layouts.check_folder(made), layouts.check_folder(url_of(made))
    assert far == near


def test_what_is_no_dataset_is_refused(made: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"it has no dataset\.json; datasets in released layouts are read from folders"
    ):
        open_dataset((tmp_path / "nothing").as_uri())
    with pytest.raises(InputError, match=r"no checksum of clouds\.csv: an earlier version prepared it"):
        streamed(without_checksums(copy))
    (copy / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"file:///.*dataset\.json is damaged"):
        streamed(copy)

    def silent(self: object, path: str) -> bytes:
        raise ConnectionError("no answer")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.cat_file", silent)
    with pytest.raises(InputError, match=r"file:///.*dataset\.json cannot be read \(no answer\)"):
        streamed(made)
    monkeypatch.undo()
    with pytest.raises(InputError, match="nothing://here: no known kind of URL"):
        open_dataset("nothing://here")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def absent(kind: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    with pytest.raises(MissingDependency, match=r"s3://b/x needs a package that is not installed: pip install .*s3"):
        open_dataset("s3://b/x")


def test_passing_trouble_is_tried_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download, left = remote._download, [TimeoutError("slow"), OSError("reset")]

    def shaky(system: object, path: str, to: Path) -> None:
        if left:
            raise left.pop()
        download(system, path, to)

    data = streamed(made)
    monkeypatch.setattr(remote, "_download", shaky)
    assert len(data.fetch([0], 0)["points"]) == 1
    left[:] = [TimeoutError("slow")] * 9
    with pytest.raises(InputError, match=r"points-00009\.npy cannot be read \(slow\)"):
        data.fetch([len(data) - 1], 0)


def test_a_list_of_datasets(tmp_path: Path) -> None:
    names = tmp_path / "sets.txt"
    names.write_text("# mine\na\n\n  s3://bucket/b \nsample\n")
    assert folders_of(str(names)) == [str(tmp_path / "a"), "s3://bucket/b", "sample"]

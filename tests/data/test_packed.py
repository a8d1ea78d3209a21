"""The packed format: writing, opening, selecting, damage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from act3d.data import open_dataset
from act3d.data.packed import PackedDataset
from act3d.data.packing import Cloud, PackedWriter
from act3d.errors import InputError
from tests.data.helpers import DECLARED, write_packed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("packed") / "set")


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "set")


def test_content_survives(made: Path) -> None:
    data = open_dataset(made, normalize="none")
    assert (len(data), data.classes, data.parts, data.points) == (19, ["a", "b", "c"], ["p", "q"], 64)
    assert "cloud3" not in data.names
    for i in (0, 7, 18):
        number = int(data.names[i].removeprefix("cloud"))
        cloud = np.random.default_rng(number).uniform(-0.5, 0.5, (64, 3))
        item = data[i]
        assert item["label"] == number % 3
        # Stored in half precision, given back at the original place and size.
        expected = cloud * 4 + [1, 2, 3]
        nearest = np.linalg.norm(expected[:, None] - item["points"].numpy(), axis=2).min(axis=1)
        assert nearest.max() < 4e-3
        assert torch.equal(item["parts"], (item["points"][:, 0] > 1).long())
    assert data.class_parts == {"a": [0, 1], "b": [0, 1], "c": [0, 1]}
    assert (made / "failures.csv").read_text() == "name,reason\ncloud3,made to fail\n"


def test_splits_and_subsets(made: Path) -> None:
    train, test = open_dataset(made, "train"), open_dataset(made, "test")
    assert (len(train), len(test)) == (15, 4)
    assert set(train.names).isdisjoint(test.names)
    assert len(open_dataset(made, "train+test")) == len(open_dataset(made)) == 19
    assert open_dataset(made, "test", subset="core").names == ["cloud0", "cloud10"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"split": "val"}, "no split 'val'; it has test, train"),
        ({"points": 65}, "65 points.*stores 64"),
        ({"points": 0}, "0 points"),
        ({"subset": "name"}, "no subset 'name'"),
        ({"normalize": "box"}, "unit_sphere, none"),
    ],
)
def test_impossible_selections(made: Path, arguments: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        open_dataset(made, **arguments)


def test_batch_is_the_same_as_single_items(made: Path) -> None:
    data = open_dataset(made, "train", points=16)
    order = [14, 0, 7, 7]
    batch = data.fetch(order)
    assert batch["points"].shape == (4, 16, 3)
    assert batch["points"].dtype == torch.float32
    assert batch["index"].tolist() == order
    for place, (index, item) in enumerate(zip(order, data.__getitems__(order), strict=True)):
        for key, value in data[index].items():
            assert torch.equal(value, batch[key][place])
            assert torch.equal(value, item[key])


def test_subsets_are_a_function_of_seed_epoch_and_index(made: Path) -> None:
    data = open_dataset(made, points=32)
    again = open_dataset(made, points=32)
    again.set_epoch(5)
    again.fetch([3, 1])
    assert torch.equal(data.fetch([2], 5)["points"], again.fetch([2])["points"])
    assert not torch.equal(data.fetch([2], 5)["points"], data.fetch([2], 6)["points"])
    assert not torch.equal(data.fetch([2])["points"], open_dataset(made, points=32, seed=1).fetch([2])["points"])
    # No point twice.
    assert len(torch.unique(data.fetch([2])["points"][0], dim=0)) == 32


def test_clouds_are_normalized_after_the_choice(made: Path) -> None:
    points = open_dataset(made, points=8).fetch(range(19))["points"]
    assert torch.allclose(points.mean(dim=1), torch.zeros(19, 3), atol=1e-6)
    assert torch.allclose(points.norm(dim=2).amax(dim=1), torch.ones(19))


def test_meta_is_json_and_complete(made: Path) -> None:
    meta = open_dataset(made, points=8).meta
    assert json.loads(json.dumps(meta)) == meta
    assert (meta["up"], meta["source_up"], meta["normalization"], meta["points"]) == ("y", "z", "unit_sphere", 8)


@pytest.mark.parametrize("name", ["points-00001.npy", "parts-00002.npy"])
def test_cut_off_shard(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:-10])
    with pytest.raises(InputError, match=rf"{name} is damaged or cut off"):
        open_dataset(copy)


def test_missing_shard(copy: Path) -> None:
    (copy / "points-00000.npy").unlink()
    with pytest.raises(InputError, match=r"points-00000.npy is missing"):
        open_dataset(copy)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "act3d-packed", "version": 1}'])
def test_damaged_description(copy: Path, content: str) -> None:
    (copy / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=r"dataset\.json"):
        open_dataset(copy)


def test_damaged_table(copy: Path) -> None:
    text = (copy / "clouds.csv").read_text()
    (copy / "clouds.csv").write_text(text[:-30])
    with pytest.raises(InputError, match=r"clouds\.csv"):
        open_dataset(copy)


def test_version_from_the_future(copy: Path) -> None:
    info = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(info | {"version": 2}))
    with pytest.raises(InputError, match="version 2"):
        open_dataset(copy)


def test_folders_that_hold_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="act3d prepare"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        open_dataset(tmp_path / "nothing")


def test_one_cloud_is_read_without_the_others(copy: Path) -> None:
    data = open_dataset(copy)
    assert isinstance(data, PackedDataset)
    assert all(isinstance(array, np.memmap) for shard in data._shards for array in shard.values())


def cloud(i: int) -> Cloud:
    return Cloud(f"n{i}", np.random.default_rng(i).uniform(-1, 1, (4, 3)), np.zeros(3), 1.0, cls="a")


def test_writer_keeps_finished_shards_and_starts_again_for_another_plan(tmp_path: Path) -> None:
    out = tmp_path / "set"
    first = PackedWriter(out, {"seed": 0}, 6, 4, shard_size=2)
    first.write_shard(1, [cloud(2), cloud(3)])
    assert not out.exists()
    second = PackedWriter(out, {"seed": 0}, 6, 4, shard_size=2)
    assert second.pending() == [0, 2]
    assert PackedWriter(out, {"seed": 1}, 6, 4, shard_size=2).pending() == [0, 1, 2]


def test_a_shard_without_its_rows_is_not_done(tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path / "set", {}, 4, 4, shard_size=2)
    writer.write_shard(0, [cloud(0), cloud(1)])
    (writer.work / "rows-00000.json").unlink()
    assert PackedWriter(tmp_path / "set", {}, 4, 4, shard_size=2).pending() == [0, 1]


def test_writer_never_loses_what_exists(tmp_path: Path) -> None:
    out = write_packed(tmp_path / "set")
    before = open_dataset(out).fingerprint
    with pytest.raises(InputError, match="--overwrite"):
        PackedWriter(out, {"other": 1}, 4, 4)
    writer = PackedWriter(out, {"other": 1}, 2, 4, overwrite=True)
    assert open_dataset(out).fingerprint == before
    writer.write_shard(0, [cloud(0), cloud(1)])
    assert open_dataset(out).fingerprint == before
    writer.finish(DECLARED)
    assert open_dataset(out).names == ["n0", "n1"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not a prepared dataset"):
            PackedWriter(tmp_path / "mine", {}, 2, 4, overwrite=overwrite)

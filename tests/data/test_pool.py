"""Several datasets as one: their clouds, classes and weights, and what cannot be pooled."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from act3d.data import open_dataset
from act3d.data.loading import BatchPlan, epoch_length, make_loader
from act3d.data.pool import Pool
from act3d.data.resident import ResidentLoader
from act3d.data.views import Selection
from act3d.engine.batches import open_clouds, open_split
from act3d.errors import ConfigError, InputError
from act3d.settings.data import PoolConfig
from act3d.settings.pretraining import AutoencodeSettings
from act3d.settings.tasks import FinetuneSettings
from tests.data.helpers import write_packed
from tests.fixtures.packed import write_dataset


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    """Two datasets of one name, one with parts and other classes."""
    return [write_dataset(tmp_path / "a"), write_packed(tmp_path / "b", clouds=10)]


def pooled(roots: list[Path], points: int = 16, **rest: object) -> Pool:
    data = PoolConfig(root=",".join(map(str, roots)), points=32, **rest)  # type: ignore[arg-type]
    clouds = open_split(data.model_copy(update={"points": max(points, 32)}), 0, "train")
    assert isinstance(clouds, Pool)
    return clouds


def test_clouds_labels_and_names_are_those_of_the_datasets(roots: list[Path]) -> None:
    parts = [open_dataset(root, "train", 32) for root in roots]
    pool = pooled(roots)
    assert len(pool) == sum(map(len, parts))
    first, second = parts
    rows = [3, len(first) + 1, 0, len(first)]  # mixed, out of order
    batch = pool.fetch(rows, epoch=2)
    wanted = [first.fetch([3], 2), second.fetch([1], 2), first.fetch([0], 2), second.fetch([0], 2)]
    assert torch.equal(batch["points"], torch.cat([each["points"] for each in wanted]))
    assert batch["index"].tolist() == rows
    for row, source, place in ((3, first, 3), (len(first) + 1, second, 1)):
        assert pool.names[row] == f"{source.name}: {source.names[place]}"
        label = int(source.labels[place])
        assert pool.labels[row] == -1 if label < 0 else pool.classes[pool.labels[row]].endswith(source.classes[label])
    assert "parts" not in batch
    assert pool.class_words() == [*first.classes, *second.classes]
    assert pool.columns()["name"] == [*first.columns()["name"], *second.columns()["name"]]


def test_each_dataset_gives_the_splits_that_it_has(roots: list[Path], tmp_path: Path) -> None:
    def opened(split: str, *places: Path) -> list[str]:
        return open_split(PoolConfig(root=",".join(map(str, places)), points=32), 0, split).split

    whole, _ = roots
    bare = write_dataset(tmp_path / "bare", split="unlabeled")
    own = open_dataset(whole, "train").split
    assert opened("train+unlabeled", whole, bare) == own + ["unlabeled"] * len(open_dataset(bare))
    with pytest.raises(InputError, match=r"bare has no split 'train'; it has unlabeled \(join"):
        opened("train+test", whole, bare)  # none of them
    with pytest.raises(InputError, match="has no split 'unlabelled'; it has") as caught:
        opened("train+unlabelled", whole, roots[1])  # a split that no dataset has
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # as from another process
    with pytest.raises(InputError, match="has no split 'unlabeled'; it has"):
        opened("train+unlabeled", whole)  # one dataset alone must have all


def test_equal_class_names_are_kept_apart(tmp_path: Path) -> None:
    pool = pooled([write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b")])
    assert pool.classes == [f"{name}: {cls}" for name in ("shapes", "shapes-2") for cls in ("ball", "box", "rod")]
    assert np.bincount(pool.labels).tolist() == [6] * 6


def test_the_fingerprint_is_of_all_datasets_in_their_order(roots: list[Path]) -> None:
    pool, turned = pooled(roots), pooled(roots[::-1])
    assert pool.fingerprint != turned.fingerprint
    assert pool.about()["fingerprint"] == pool.fingerprint
    assert [each["fingerprint"] for each in pool.about()["datasets"]] == [
        open_dataset(root).fingerprint for root in roots
    ]


def test_weights_say_how_often_clouds_come() -> None:
    weights = np.repeat([2.0, 1.0, 0.25], [3, 4, 8])
    plan = BatchPlan(15, 6, seed=5, weights=weights)
    assert epoch_length(15, weights) == plan.seen == 3 * 2 + 4 + 2
    epochs = []
    for epoch in range(40):
        plan.set_epoch(epoch)
        epochs.append([row for key in plan for row in key.indices])
    counts = np.array([np.bincount(rows, minlength=15) for rows in epochs])
    assert (counts[:, :3] == 2).all()
    assert (counts[:, 3:7] == 1).all()
    assert (counts[:, 7:].sum(axis=1) == 2).all()
    assert (counts[:, 7:].sum(axis=0) > 0).all()  # drawn anew every epoch
    assert len({tuple(rows) for rows in epochs}) == 40


def test_equal_weights_of_one_are_the_plain_order() -> None:
    plain, weighted = BatchPlan(9, 4, seed=1), BatchPlan(9, 4, seed=1, weights=np.ones(9))
    assert sorted(row for key in plain for row in key.indices) == sorted(row for key in weighted for row in key.indices)


def test_an_epoch_goes_on_from_its_middle_with_weights(roots: list[Path]) -> None:
    pool = pooled(roots, weights=[2.0, 0.5])
    held = Selection(pool, np.arange(1, len(pool)))  # as training clouds are, less those held out
    assert held.weights is not None
    whole, rest = make_loader(held, 4, seed=3), make_loader(held, 4, seed=3)
    for loader in (whole, rest):
        loader.set_epoch(6)
    rest.start_at(2)
    for a, b in zip(list(whole)[2:], rest, strict=True):
        assert torch.equal(a["points"], b["points"])
        assert torch.equal(a["index"], b["index"])


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_weighted_epoch(world: int) -> None:
    weights = np.repeat([2.0, 1.0], [3, 4])
    plans = [BatchPlan(7, 2, seed=1, rank=rank, world=world, weights=weights) for rank in range(world)]
    rows = [row for plan in plans for key in plan for row in key.indices]
    assert len(rows) == 10 // world * world  # what does not divide is left out: no process sees more than another
    assert all(rows.count(row) <= (2 if row < 3 else 1) for row in range(7))


def test_a_share_of_every_class_of_every_dataset_is_held_out(tmp_path: Path) -> None:
    roots = [write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b")]
    data = PoolConfig(root=",".join(map(str, roots)), points=64, weights=[1, 2])
    found = open_clouds(data, 0)
    assert found.held_out is not None
    assert set(found.held_out.labels.tolist()) == set(range(6))
    assert not set(found.train.names) & set(found.held_out.names)


def test_datasets_that_declare_another_normalization_are_refused(tmp_path: Path) -> None:
    roots = [write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b")]
    info = json.loads((roots[1] / "dataset.json").read_text())
    (roots[1] / "dataset.json").write_text(json.dumps(info | {"normalization": "none"}))
    with pytest.raises(InputError, match=r"data\.normalize: shapes has normalization unit_sphere, shapes has none"):
        pooled(roots)
    assert len(pooled(roots, normalize="unit_sphere")) == 36


def test_a_dataset_with_too_few_points_is_named(tmp_path: Path) -> None:
    roots = [write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b", points=64)]
    with pytest.raises(InputError, match=r"100 points per cloud were asked of .*b; it stores 64"):
        pooled(roots, points=100)


def test_rooms_are_not_pooled_with_shapes(tmp_path: Path) -> None:
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    np.save(rooms / "Area_1_office_1.npy", np.zeros((4, 7)))
    roots = [write_dataset(tmp_path / "a"), rooms]
    with pytest.raises(InputError, match="rooms holds"):
        pooled(roots)


def test_another_up_axis_is_turned(tmp_path: Path) -> None:
    roots = [write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b")]
    info = json.loads((roots[1] / "dataset.json").read_text())
    (roots[1] / "dataset.json").write_text(json.dumps(info | {"up": "z"}))
    pool = pooled(roots)
    stored = open_dataset(roots[1], "train", 32).fetch([0], 0)["points"][0]
    turned = pool.fetch([18], 0)["points"][0]
    assert torch.allclose(turned, torch.stack([stored[:, 0], stored[:, 2], -stored[:, 1]], dim=1), atol=1e-6)
    assert pool.meta["up"] == "y"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"root": "a,b", "weights": [1.0]},
            r"data.weights: 1 are given for 2 datasets in data.root; give one for each",
        ),
        ({"root": "a", "weights": [1.0]}, r"data.weights: one dataset alone needs no weight"),
        ({"root": "a", "weights": [1.0, 2.0]}, r"data.weights: 2 are given for 1 dataset in data.root"),
        ({"root": "a,b", "weights": [1.0, 0.0]}, r"data.weights"),
    ],
)
def test_impossible_weights(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PoolConfig(**values)  # type: ignore[arg-type]


def test_places_are_checked_one_by_one(roots: list[Path], tmp_path: Path) -> None:
    AutoencodeSettings(data={"root": roots}).check_places()  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"data.root: .*missing is not a folder"):
        AutoencodeSettings(data={"root": f"{roots[0]},{tmp_path / 'missing'}"}).check_places()  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is named twice"):
        AutoencodeSettings(data={"root": f"{roots[0]},{roots[0]}"}).check_places()  # type: ignore[arg-type]
    with pytest.raises(InputError, match="several datasets, and this takes one"):
        FinetuneSettings(data={"root": f"{roots[0]},{roots[1]}"}).check_places()  # type: ignore[arg-type]


def test_a_folder_with_a_comma_in_its_name_is_one_dataset(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "red, blue")
    assert len(open_clouds(PoolConfig(root=str(root), points=64, val_split="none"), 0).train) == 18


def test_pools_of_clouds_stored_alike_can_live_on_a_device(tmp_path: Path) -> None:
    pool = pooled([write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b", per_class=4)], points=128)
    assert pool.stored_alike() is not None
    plan = BatchPlan(len(pool), 8, seed=1, weights=np.repeat([2.0, 1.0], [18, len(pool) - 18]))
    seen = []
    for batch in ResidentLoader(pool, plan, torch.device("cpu")):
        seen += batch["index"].tolist()
        wanted = pool.fetch(batch["index"].tolist(), 0)
        assert torch.equal(batch["label"], wanted["label"])
        assert torch.allclose(batch["points"].sort(dim=1)[0], wanted["points"].sort(dim=1)[0], atol=1e-6)
    assert len(seen) == 2 * 18 + len(pool) - 18


def test_clouds_stored_in_other_ways_are_read_on_the_host(roots: list[Path]) -> None:
    assert pooled(roots).stored_alike() is None


def test_loading_processes_give_the_same_batches(roots: list[Path]) -> None:
    pool = pooled(roots, weights=[1.5, 1.0])
    for a, b in zip(make_loader(pool, 8), make_loader(pool, 8, workers=2), strict=True):
        assert torch.equal(a["points"], b["points"])
        assert torch.equal(a["index"], b["index"])

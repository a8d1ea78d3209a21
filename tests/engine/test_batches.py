from pathlib import Path

import numpy as np
import pytest
import torch

from act3d.data.views import holdout_rows
from act3d.engine.batches import EvaluationBatches, eval_batches, open_clouds, train_loader
from act3d.errors import InputError
from act3d.settings.training import DataConfig
from tests.fixtures.packed import write_dataset


def test_holdout_takes_a_share_of_every_class_and_never_all() -> None:
    labels = np.array([0] * 20 + [1] * 5 + [2] * 2 + [3])
    held = holdout_rows(labels, 0.1, seed=0)
    assert np.bincount(labels[held], minlength=4).tolist() == [2, 1, 1, 0]
    assert np.array_equal(held, holdout_rows(labels, 0.1, seed=0))
    assert not np.array_equal(held, holdout_rows(labels, 0.1, seed=1))


def test_held_out_clouds_are_not_trained_on(dataset: Path) -> None:
    clouds = open_clouds(DataConfig(root=str(dataset), points=64), seed=0)
    assert clouds.held_out is not None
    assert len(clouds.train) + len(clouds.held_out) == 18
    assert not set(clouds.train.names) & set(clouds.held_out.names)
    assert set(clouds.held_out.labels.tolist()) == {0, 1, 2}
    batch = clouds.held_out.fetch([1])
    assert batch["label"][0] == clouds.held_out.labels[1]
    assert clouds.held_out.names[1].split("/")[0] == clouds.held_out.classes[int(batch["label"][0])]


def test_a_named_split_or_none_validates(dataset: Path) -> None:
    named = open_clouds(DataConfig(root=str(dataset), points=64, val_split="test"), seed=0)
    assert len(named.train) == 18
    assert named.held_out is not None
    assert len(named.held_out) == 6
    assert open_clouds(DataConfig(root=str(dataset), points=64, val_split="none"), seed=0).held_out is None


def test_too_few_clouds_to_hold_some_out(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "few", per_class=1)
    with pytest.raises(InputError, match="too few"):
        open_clouds(DataConfig(root=str(root), points=64), seed=0)


def test_the_rest_of_an_epoch_is_the_rest_of_the_whole(dataset: Path) -> None:
    data = DataConfig(root=str(dataset), points=64, batch_size=4, val_split="none")
    loader = train_loader(open_clouds(data, 0).train, data, 0, 1, torch.device("cpu"))
    loader.set_epoch(2)
    whole = list(loader)
    loader.start_at(3)
    rest = list(loader)
    assert (len(loader), len(whole), len(rest)) == (4, 4, 1)  # 18 clouds: a short batch is dropped
    assert torch.equal(rest[0]["points"], whole[3]["points"])
    assert torch.equal(rest[0]["index"], whole[3]["index"])


def test_evaluation_sees_every_cloud_once_with_the_same_points(dataset: Path) -> None:
    clouds = open_clouds(DataConfig(root=str(dataset), points=64, val_split="none"), 0).train
    first, second = list(eval_batches(clouds, 4)), list(eval_batches(clouds, 4))
    assert torch.cat([batch["index"] for batch in first]).tolist() == list(range(18))
    assert all(torch.equal(a["points"], b["points"]) for a, b in zip(first, second, strict=True))
    assert len(list(eval_batches(clouds, 4, limit=2))) == 2


def test_clouds_to_validate_on_are_read_once_where_they_may_stay(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds = open_clouds(DataConfig(root=str(dataset), points=64, batch_size=4), 0).train
    expected = list(eval_batches(clouds, 4))
    read: list[int] = []
    fetch = type(clouds).fetch
    monkeypatch.setattr(
        type(clouds), "fetch", lambda self, rows, epoch: read.append(len(rows)) or fetch(self, rows, epoch)
    )
    for choice, passes in (("always", 1), ("auto", 2), ("never", 2)):  # "auto" keeps them on CUDA only
        read.clear()
        batches = EvaluationBatches(choice)
        for _ in range(2):
            found = list(batches.of(clouds, 4, 0, torch.device("cpu")))
            assert len(found) == len(expected)
            for mine, theirs in zip(found, expected, strict=True):
                assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
        assert sum(read) == passes * len(clouds)
    assert len(list(batches.of(clouds, 4, 1, torch.device("cpu")))) == 1
    half = EvaluationBatches("always")
    next(half.of(clouds, 4, 0, torch.device("cpu")))  # a pass that was broken off keeps nothing
    assert len(list(half.of(clouds, 4, 0, torch.device("cpu")))) == len(expected)


@pytest.mark.parametrize("room", [0, 10**12])
def test_on_cuda_they_stay_where_there_is_room(dataset: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    clouds = open_clouds(DataConfig(root=str(dataset), points=64, batch_size=4), 0).train
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (room, 10**12))
    assert EvaluationBatches("auto")._fits(clouds, torch.device("cuda", 0)) == bool(room)

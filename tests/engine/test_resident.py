"""Runs whose clouds live on the training device, which is the CPU here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act3d.data import open_dataset
from act3d.data.loading import BatchPlan
from act3d.data.resident import ResidentLoader
from act3d.data.rooms import UNLABELLED
from act3d.data.views import PartClouds
from act3d.engine.batches import open_clouds, train_loader
from act3d.errors import ConfigError
from act3d.settings.training import DataConfig
from tests.data.helpers import write_packed
from tests.engine.test_resume import Killed, assert_same_run, interrupt_at, kill, rows

CPU = torch.device("cpu")


@pytest.mark.parametrize("batch", [2, 4, 5])
def test_a_killed_run_goes_on_exactly(stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    whole = stage1(tmp_path / "whole", resident="always")
    with monkeypatch.context() as patch:
        interrupt_at(patch, batch, kill)
        with pytest.raises(Killed):
            stage1(tmp_path / "cut", resident="always", save_every_steps=2)
    assert_same_run(stage1(tmp_path / "cut", resume=True, resident="always", save_every_steps=2), whole)


def test_a_run_says_where_its_clouds_live(stage1: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    homes, said = {}, {}
    for choice in ("always", "auto"):
        result = stage1(tmp_path / choice, resident=choice, epochs=1)
        homes[choice] = json.loads((result.out / "results.json").read_text())["data"]["lives_on"]
        said[choice] = capsys.readouterr().err.splitlines()[0]
    assert homes == {"always": "cpu", "auto": "host"}
    assert "clouds of shapes (0.0 MB resident on cpu), 1 epochs" in said["always"]
    assert "clouds of shapes (read on the host), 1 epochs" in said["auto"]
    # Which points of a cloud are taken depends on it, and so the losses do.
    assert rows(tmp_path / "always")[0]["loss"] != rows(tmp_path / "auto")[0]["loss"]


def test_clouds_that_moved_are_reported(stage1: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage1(tmp_path / "run", resident="always", epochs=1)
    capsys.readouterr()
    stage1(tmp_path / "run", resume=True, epochs=2)
    assert "clouds were on cpu, now on host: other random points are drawn from here" in capsys.readouterr().err


def test_a_resumed_run_stays_where_it_began(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig(root=str(dataset), points=64, batch_size=4)
    clouds, asked = open_clouds(data, 0).train, []
    monkeypatch.setattr("act3d.engine.batches.is_resident", lambda *args: bool(asked.append(args)))
    for was, looked in (("", 1), ("host", 0), ("cpu", 1)):
        asked.clear()
        assert train_loader(clouds, data, 0, 1, CPU, was).lives_on == "host"
        assert len(asked) == looked


def test_chosen_clouds_and_parts_are_the_hosts(tmp_path: Path) -> None:
    root = write_packed(tmp_path / "set", clouds=30)
    source = open_dataset(root, "train", normalize="none")
    source.class_parts = {"a": [0, 1], "b": [0, 1], "c": [0, 1]}
    parts = PartClouds(source, "b+q")
    loader = ResidentLoader(parts, BatchPlan(len(parts), 4, seed=1), CPU)
    for batch in loader:
        host = parts.fetch(batch["index"].tolist())
        assert torch.equal(batch["label"], host["label"])
        for i in range(len(batch["index"])):
            mine, theirs = (np.lexsort(points[i].numpy().T) for points in (batch["points"], host["points"]))
            assert torch.equal(batch["points"][i][mine], host["points"][i][theirs])
            assert torch.equal(batch["parts"][i][mine], host["parts"][i][theirs])
        assert set(batch["parts"].unique().tolist()) == {0, UNLABELLED}


def test_always_is_refused_where_clouds_cannot_live_there(
    stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("act3d.data.packed.PackedDataset.stored_alike", lambda self: None)
    with pytest.raises(ConfigError, match=r"data\.resident: always is not possible for shapes"):
        stage1(tmp_path / "run", resident="always")
    assert not (tmp_path / "run").exists()

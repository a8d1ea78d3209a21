"""Training on datasets at URLs: exact resume, also of their order where another number of processes goes on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d.commands.pretrain import pretrain
from act3d.data.loading import BatchPlan
from act3d.engine.run_folder import RunResult
from act3d.errors import InputError
from act3d.settings.training import OptimConfig, StudentConfig
from tests.data.helpers import write_packed
from tests.engine.test_resume import Killed, assert_same_run, interrupt_at, kill
from tests.fixtures.packed import write_dataset


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACT3D_CACHE", str(tmp_path / "cache"))
    return write_packed(tmp_path / "set", clouds=40, parts=False)


def student(root: str, out: Path, **rest: Any) -> RunResult:
    return pretrain(
        data={"root": root, "points": 64, "batch_size": 4, "val_fraction": 0.2, "shuffle_buffer": 12},
        method="point_mae",
        point_mae={"patches": 8, "patch_size": 8},
        student=StudentConfig(width=16, depth=2, heads=2, decoder_depth=1, decoder_heads=2),
        optim=OptimConfig(lr=1e-3, warmup_epochs=1),
        trainer={"epochs": 2, "log_every": 1, "save_every_minutes": 0.0, "save_every_steps": 2},
        out=str(out),
        **rest,
    )


@pytest.mark.parametrize("beside", [False, True])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, beside: bool
) -> None:
    url = root.as_uri() + (f",{write_dataset(tmp_path / 'near')}" if beside else "")
    whole = student(url, tmp_path / "whole")
    assert f"fetched to {tmp_path / 'cache' / 'shards'}" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        interrupt_at(patch, 9, kill)
        with pytest.raises(Killed):
            student(url, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cache")
    assert_same_run(student(url, tmp_path / "cut", resume=True), whole)


def test_a_resumed_run_keeps_the_order_that_it_began_with(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, kill)
        with pytest.raises(Killed):
            student(root.as_uri(), tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    state = torch.load(path)
    assert state["lanes"] == 1
    torch.save({**state, "lanes": 3}, path)  # as if three processes had begun it
    seen = []
    iterate = BatchPlan.__iter__
    monkeypatch.setattr(BatchPlan, "__iter__", lambda self: seen.append(self.lanes) or iterate(self))
    student(root.as_uri(), tmp_path / "run", resume=True)
    assert set(seen) == {3}
    assert torch.load(path)["lanes"] == 3


def test_other_data_at_the_url_are_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, kill)
        with pytest.raises(Killed):
            student(root.as_uri(), tmp_path / "run")
    shutil.rmtree(root)
    write_packed(root, clouds=41, parts=False)
    with pytest.raises(InputError, match="resume: the run has other data: "):
        student(root.as_uri(), tmp_path / "run", resume=True)

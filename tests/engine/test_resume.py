"""An interrupted run, resumed, is the run that was never interrupted: same losses, same weights, to the last bit."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d.commands.pretrain import pretrain
from act3d.engine import loop
from act3d.engine.log import read_metrics
from act3d.engine.loop import Interrupted, NonFiniteLoss
from act3d.engine.run_folder import RunFolder, RunResult
from act3d.engine.state import read_state
from act3d.errors import CheckpointError, ConfigError
from act3d.recipes.autoencoder import AutoencoderTraining
from act3d.recipes.pretraining import Pretraining
from tests.fixtures.interruption import assert_same_weights

UNTIMED = ("step", "epoch", "loss", "reconstruction", "kl", "lr", "val_f_score", "val_cd_l1", "val_cd_l2", "probe")


class Killed(BaseException):
    """Stands for SIGKILL: nothing but what lies on the disk survives."""


def rows(out: Path) -> list[dict[str, str]]:
    return [{name: row[name] for name in UNTIMED if name in row} for row in read_metrics(out / "metrics.csv")]


def assert_same_run(resumed: RunResult, whole: RunResult) -> None:
    assert rows(resumed.out) == rows(whole.out)
    assert resumed.metrics == whole.metrics
    for first, second in ((resumed.last, whole.last), (resumed.best, whole.best)):
        assert_same_weights(first, second)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, batch: int, how: Any) -> None:
    """Call `how` right before the given batch of a run (counted over epochs) is trained on."""
    losses_of, seen = loop._losses_of, [0]

    def counted(*args: Any) -> Any:
        seen[0] += 1
        if seen[0] == batch + 1:
            how()
        return losses_of(*args)

    monkeypatch.setattr(loop, "_losses_of", counted)


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("batch", [2, 4, 5, 7])
def test_stage1_killed_mid_epoch(stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    whole = stage1(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, batch, kill)
        with pytest.raises(Killed):
            stage1(tmp_path / "cut", save_every_steps=2)
    assert_same_run(stage1(tmp_path / "cut", resume=True, save_every_steps=2), whole)


def test_stage1_with_accumulation_saves_at_whole_steps(
    stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"accumulate": 2, "save_every_steps": 1, "log_every": 2}
    whole = stage1(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3 + 2, kill)
        with pytest.raises(Killed):
            stage1(tmp_path / "cut", **options)
    _, position = read_state(tmp_path / "cut" / "checkpoints" / "last.ckpt")
    assert (position.epoch, position.batch) == (1, 2)
    resumed = stage1(tmp_path / "cut", resume=True, **options)
    assert resumed.metrics["steps"] == 3 * 2  # three batches make two steps
    assert_same_run(resumed, whole)


def test_stage1_killed_before_its_first_checkpoint(
    stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stage1(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1, kill)
        with pytest.raises(Killed):
            stage1(tmp_path / "cut")
    assert_same_run(stage1(tmp_path / "cut", resume=True), whole)


@pytest.mark.parametrize("mode", ["eval", "released"])
def test_stage2_killed_before_its_first_state(
    stage2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    whole = stage2(tmp_path / "whole", mode=mode)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1, kill)
        with pytest.raises(Killed):
            stage2(tmp_path / "cut", mode=mode)
    folder = RunFolder(tmp_path / "cut")
    assert folder.holds_run
    assert not folder.holds_state
    (folder.checkpoints).mkdir(exist_ok=True)
    (folder.checkpoints / ".last.ckpt.cut.tmp").write_bytes(b"what a kill leaves of the first state")
    # Nothing but the folder is needed: the settings and the teacher are in it, and the log begins again.
    assert_same_run(pretrain(out=str(folder.path), resume=True), whole)


def test_stage2_killed_while_it_copies_its_teacher(
    stage2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stage2(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "keep_inputs", lambda *_: kill())
        with pytest.raises(Killed):
            stage2(tmp_path / "cut")
    assert not RunFolder(tmp_path / "cut").teacher.exists()
    assert_same_run(pretrain(out=str(tmp_path / "cut"), resume=True), whole)


@pytest.mark.parametrize("epoch", [1, 3])
def test_stage1_killed_while_it_validates(
    stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    whole = stage1(tmp_path / "whole")
    with monkeypatch.context() as patch:
        validate, seen = AutoencoderTraining.validate, [0]

        def cut(self: AutoencoderTraining, limit: int = 0) -> Any:
            seen[0] += 1
            return kill() if seen[0] == epoch else validate(self, limit)

        patch.setattr(AutoencoderTraining, "validate", cut)
        with pytest.raises(Killed):
            stage1(tmp_path / "cut")
    assert_same_run(stage1(tmp_path / "cut", resume=True), whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("batch", [4, 5])  # in the middle of an epoch, and its last
def test_stage2_stopped_by_a_signal(
    stage2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, number: signal.Signals
) -> None:
    whole = stage2(tmp_path / "whole")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        interrupt_at(patch, batch, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match="--resume") as caught:
            stage2(tmp_path / "cut")
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before
    assert_same_run(stage2(tmp_path / "cut", resume=True), whole)


def test_a_drifting_teacher_is_part_of_the_run(stage2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stage2(tmp_path / "whole", mode="released")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5, kill)
        with pytest.raises(Killed):
            stage2(tmp_path / "cut", mode="released", save_every_steps=1)
    assert_same_run(stage2(tmp_path / "cut", mode="released", resume=True), whole)


def test_a_stopped_run_goes_on_without_stage1s_folder(stage2: Any, tmp_path: Path) -> None:
    stage2(tmp_path / "run", epochs=1)
    longer = stage2(tmp_path / "run", resume=True, epochs=2)  # the fixture names no teacher on resume
    assert longer.metrics["epochs"] == 2
    assert (tmp_path / "run" / "teacher.safetensors").exists()


def test_a_run_that_is_longer_by_steps(stage1: Any, tmp_path: Path) -> None:
    short = stage1(tmp_path / "run", max_steps=4)
    assert short.metrics["steps"] == 4
    assert stage1(tmp_path / "run", resume=True, max_steps=4).metrics == short.metrics  # finished: nothing to do
    assert stage1(tmp_path / "run", resume=True, max_steps=6).metrics["steps"] == 6
    assert [row["step"] for row in rows(tmp_path / "run") if row["loss"]] == ["1", "2", "3", "4", "5", "6"]


def test_a_finished_run_says_so(stage1: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = stage1(tmp_path / "run", epochs=1)
    capsys.readouterr()
    assert stage1(tmp_path / "run", epochs=1, resume=True) == result
    assert "is finished (1 epochs, 3 steps)" in capsys.readouterr().err


def test_a_new_run_never_overwrites_another(stage1: Any, tmp_path: Path) -> None:
    result = stage1(tmp_path / "run", epochs=1)
    assert result.last is not None
    before = result.last.read_bytes()
    with pytest.raises(ConfigError, match="holds a run"):
        stage1(tmp_path / "run", epochs=1)
    assert result.last.read_bytes() == before


def test_there_must_be_something_to_resume(stage1: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        stage1(tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


def test_a_checkpoint_of_another_model_is_refused(stage1: Any, tmp_path: Path) -> None:
    stage1(tmp_path / "run", epochs=1)
    with pytest.raises(CheckpointError, match="parameters"):
        stage1(tmp_path / "run", resume=True, teacher="untrained:minilm", epochs=2)


def test_a_loss_that_is_not_finite_stops_the_run(stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = AutoencoderTraining.losses

    def broken(self: AutoencoderTraining, points: Any, batch: Any, step: int) -> dict[str, torch.Tensor]:
        values = losses(self, points, batch, step)
        return values if step < 4 else {**values, "loss": values["loss"] * float("nan")}

    monkeypatch.setattr(AutoencoderTraining, "losses", broken)
    with pytest.raises(NonFiniteLoss, match="step 5") as caught:
        stage1(tmp_path / "run", save_every_steps=1)
    assert "last.ckpt" in str(caught.value)
    assert "/" in str(caught.value).split("the batch holds ")[1]  # names of clouds, such as ball/3
    state, position = read_state(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert position.epoch == 1
    assert position.batch == 1
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values() if value.is_floating_point())


def test_weights_that_are_not_finite_replace_no_checkpoint(
    stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer_step, seen = torch.optim.AdamW.step, [0]

    def poison(self: torch.optim.AdamW, *args: Any, **options: Any) -> None:
        optimizer_step(self, *args, **options)
        seen[0] += 1
        if seen[0] == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][0].view(-1)[0] = float("inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", poison)
    with pytest.raises(NonFiniteLoss, match="weights are not finite after step 3"):
        stage1(tmp_path / "run", save_every_steps=1)
    assert read_state(tmp_path / "run" / "checkpoints" / "last.ckpt")[1].batch == 2

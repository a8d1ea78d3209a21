"""What may happen to a run from outside: other data, other settings, other commands, signals, launchers."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from act3d.engine.loop import Interrupted
from act3d.engine.machine import check_machine
from act3d.engine.run_folder import RunFolder
from act3d.engine.signals import Signals
from act3d.engine.state import read_state
from act3d.errors import ConfigError, InputError
from act3d.settings.training import TrainerConfig
from tests.engine.test_resume import Killed, interrupt_at, kill, rows
from tests.fixtures.packed import write_dataset


def cut_run(stage1: Any, out: Path, monkeypatch: pytest.MonkeyPatch, batch: int = 4, **options: Any) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, batch, kill)
        with pytest.raises(Killed):
            stage1(out, save_every_steps=1, **options)


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_other_data_are_refused(stage1_on: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_dataset(tmp_path / "shapes")
    stage1 = stage1_on(root)
    cut_run(stage1, tmp_path / "run", monkeypatch)
    description = root / "dataset.json"
    then = json.loads(description.read_text())["fingerprint"]
    edit_json(description, fingerprint="e" * 16)
    with pytest.raises(
        InputError, match=rf"resume: the run has other data: shapes \({then}\) .* shapes \(e{{16}}\) now"
    ):
        stage1(tmp_path / "run", resume=True)
    edit_json(description, fingerprint=then, classes=["box", "ball", "rod"])
    with pytest.raises(InputError, match=r"resume: the run has other class names"):
        stage1(tmp_path / "run", resume=True)
    assert not (tmp_path / "run" / "results.json").exists()
    edit_json(description, classes=["ball", "box", "rod"])
    assert stage1(tmp_path / "run", resume=True).metrics["epochs"] == 3


def test_other_settings_are_said(
    stage1_on: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_run(stage1_on(dataset), tmp_path / "run", monkeypatch, batch=5)  # two of three batches of the second epoch
    capsys.readouterr()
    result = stage1_on(dataset, batch_size=2, seed=3)(tmp_path / "run", resume=True)
    said = capsys.readouterr().err
    assert "autoencode: seed was 0, now it is 3" in said
    assert "autoencode: data.batch_size was 4, now it is 2" in said
    assert "autoencode: trainer.save_every_steps was 1, now it is 0" in said
    assert said.count("now it is") == 3
    assert result.metrics["epochs"] == 3
    # Eight clouds of the second epoch are behind us: four batches of two.
    left = [row for row in rows(tmp_path / "run") if row["loss"] and row["epoch"] == "1"]
    assert len(left) == 2 + (7 - 4)


def test_every_other_setting_is_said(
    stage2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_run(stage2, tmp_path / "run", monkeypatch)
    capsys.readouterr()
    stage2(tmp_path / "run", resume=True, save_every_steps=1, log_every=2, epochs=4)
    said = [line for line in capsys.readouterr().err.splitlines() if " was " in line]
    assert said == ["pretrain: trainer.log_every was 1, now it is 2"]


def test_settings_that_do_not_fit_the_state_leave_the_folder_as_it_was(
    stage2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_run(stage2, tmp_path / "run", monkeypatch)
    before = (tmp_path / "run" / "config.yaml").read_text()

    def other(*given: Any) -> None:
        raise ConfigError("no optimizer")

    with monkeypatch.context() as patch:
        patch.setattr("act3d.engine.prepared.load_optimizer", other)
        with pytest.raises(ConfigError, match="no optimizer"):
            stage2(tmp_path / "run", resume=True, log_every=2)
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_results_stay_until_there_are_better_ones(stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage1(tmp_path / "run", epochs=1)
    before = (tmp_path / "run" / "results.json").read_text()
    cut_run(lambda out, **more: stage1(out, resume=True, epochs=3, **more), tmp_path / "run", monkeypatch, batch=2)
    assert (tmp_path / "run" / "results.json").read_text() == before
    assert stage1(tmp_path / "run", resume=True, epochs=3).metrics["epochs"] == 3
    assert json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]["epochs"] == 3


@pytest.mark.parametrize("content", ["", "[" * 9000, "[]", "{}", '{"metrics": 3}', '{"metrics": {"epochs": "x"}}'])
def test_damaged_results_of_a_finished_run_are_named(stage1: Any, tmp_path: Path, content: str) -> None:
    folder = RunFolder(stage1(tmp_path / "run", epochs=1).out)
    before = json.loads(folder.results.read_text())["metrics"]
    folder.results.write_text(content)
    with pytest.raises(InputError, match=r"results\.json is damaged"):
        stage1(folder.path, resume=True, epochs=1)
    folder.results.unlink()
    assert stage1(folder.path, resume=True, epochs=1).metrics == before


def test_two_commands_never_share_a_folder(stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(ConfigError) as caught:
            stage1(out, resume=True)
        refused.append(str(caught.value))

    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, second)
        stage1(out, epochs=1)
    assert refused == [f"out: another act3d command writes into {out}; wait for it, or choose another folder by --out"]
    with RunFolder(out).locked():  # the first one has let go
        pass
    with RunFolder(tmp_path / "new").locked():
        pass
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("name", "code"), [("SIGHUP", 129), ("SIGINT", 130), ("SIGUSR1", 138), ("SIGTERM", 143)])
def test_every_signal_saves(stage1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    number = getattr(signal, name)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted) as caught:
            stage1(tmp_path / "run")
    assert caught.value.code == code
    assert read_state(tmp_path / "run" / "checkpoints" / "last.ckpt")[1].batch == 2


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.number == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


LAUNCHERS: list[tuple[dict[str, str], int, bool]] = [
    ({}, 2, True),
    ({"RANK": "1"}, 1, False),
    ({"LOCAL_RANK": "1"}, 2, False),
    ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, 1, False),
    ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, 2, True),
    ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1", "NODE_RANK": "0"}, 2, True),  # Fabric's own
    ({"RANK": "one"}, 1, False),
    ({"RANK": "0", "WORLD_SIZE": "1"}, 1, True),
    ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, 2, True),
    ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, 2, False),
    ({"SLURM_NTASKS": "8", "SLURM_PROCID": "3"}, 1, True),  # a seed each
    ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "interactive"}, 2, True),
    ({"SLURM_NTASKS": "many"}, 1, False),
    ({"SLURM_NTASKS": "0"}, 1, False),
    ({"SLURM_NTASKS": "2", "SLURM_NNODES": ""}, 2, False),
    ({"SLURM_NTASKS": "2", "SLURM_PROCID": "-1"}, 2, False),
]
TORCHRUN = {"RANK": "1", "LOCAL_RANK": "0", "MASTER_PORT": "1"}
NODES: list[tuple[dict[str, str], int, int, str]] = [
    ({**TORCHRUN, "WORLD_SIZE": "2"}, 1, 2, ""),
    ({**TORCHRUN, "WORLD_SIZE": "4"}, 2, 2, ""),
    ({**TORCHRUN, "WORLD_SIZE": "4"}, 2, 0, ""),
    ({**TORCHRUN, "WORLD_SIZE": "4"}, 2, 3, "2 on 3 nodes, but the environment says RANK=1, .*WORLD_SIZE=4"),
    ({**TORCHRUN, "WORLD_SIZE": "2"}, 1, 0, "1, but the environment says"),
    ({"SLURM_NTASKS": "2", "SLURM_NNODES": "2"}, 1, 2, ""),
    ({"SLURM_NTASKS": "2", "SLURM_NNODES": "1"}, 1, 2, "2, but SLURM gave 1"),
    ({}, 1, 2, "2 machines need a launcher.*missing: MASTER_ADDR, MASTER_PORT, NODE_RANK"),
    ({"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}, 1, 2, ""),  # Fabric starts the processes
]


@pytest.mark.parametrize(("environment", "devices", "allowed"), LAUNCHERS)
def test_what_a_launcher_says_must_fit(
    environment: dict[str, str], devices: int, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    plan = TrainerConfig(devices=devices, accelerator="cpu")
    if allowed:
        check_machine(plan)
        return
    with pytest.raises(ConfigError, match=f"trainer.devices: ({devices}|the environment says SLURM_)"):
        check_machine(plan)


@pytest.mark.parametrize(("environment", "devices", "nodes", "refused"), NODES)
def test_machines_must_fit_the_launcher(
    environment: dict[str, str], devices: int, nodes: int, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    plan = TrainerConfig(devices=devices, nodes=nodes, accelerator="cpu")
    if not refused:
        check_machine(plan)
        return
    with pytest.raises(ConfigError, match=f"trainer.(devices|nodes): {refused}"):
        check_machine(plan)

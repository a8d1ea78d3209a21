"""The training commands as a user runs them: presets, processes, signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from act3d.cli import main
from act3d.engine.log import read_metrics
from act3d.presets import preset_names
from tests.fixtures.packed import write_dataset

TINY = [
    *("--data.points", "64", "--data.batch_size", "4", "--data.val_fraction", "0.2", "--teacher.name", "none"),
    *("--autoencoder.patches", "8", "--autoencoder.patch_size", "8", "--autoencoder.width", "16"),
    *("--autoencoder.codes", "16", "--autoencoder.graph_width", "32", "--autoencoder.folding_width", "16"),
    *("--optim.warmup_epochs", "1", "--trainer.log_every", "1"),
    *("--trainer.accelerator", "cpu"),
]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("big") / "shapes", points=1024)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("small") / "shapes")


@pytest.fixture(scope="module")
def teacher(big: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    assert main(fast_dev_run("small/autoencode", big, out)) == 0
    return out


def fast_dev_run(preset: str, data: Path, out: Path) -> list[str]:
    words = [preset.rsplit("/", 1)[-1].split("-")[0], "--config", preset, "--data.root", str(data), "--out", str(out)]
    words += ["--data.batch_size", "2", "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"]
    if preset == "act/autoencode" or preset == "small/autoencode":
        words += ["--teacher.name", "untrained:minilm"]  # the released weights cannot be had in a test
    return words


@pytest.mark.parametrize("preset", preset_names("autoencode"))
def test_stage1_presets_run(preset: str, big: Path, tmp_path: Path) -> None:
    assert main(fast_dev_run(preset, big, tmp_path / "run")) == 0
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 3  # two steps and a validation
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").exists()


@pytest.mark.parametrize("preset", preset_names("pretrain"))
def test_stage2_presets_run(preset: str, big: Path, teacher: Path, tmp_path: Path) -> None:
    words = [*fast_dev_run(preset, big, tmp_path / "run"), "--teacher.checkpoint", str(teacher)]
    words += ["--text.column", "classes"]  # the files have no names that ReCon could learn
    assert main(words) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()


def command(small: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "act3d", "autoencode", "--data.root", str(small), "--out", str(out), *TINY, *more]


LONG = ("--trainer.epochs", "30", "--trainer.save_every_steps", "2", "--trainer.validate_every", "10")


@pytest.fixture(scope="module")
def whole(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["autoencode", "--data.root", str(small), "--out", str(out), *TINY, *LONG]) == 0
    return out


def losses(out: Path) -> list[str]:
    return [row["loss"] for row in read_metrics(out / "metrics.csv") if row["loss"]]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_resumes_exactly(small: Path, whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "cut"
    with subprocess.Popen(command(small, out, *LONG), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if (out / "metrics.csv").exists() and len(read_metrics(out / "metrics.csv")) > 10:
                break
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert f"act3d autoencode --resume {out}" in err.splitlines()[-1]
        assert "Traceback" not in err
    assert len(losses(out)) < len(losses(whole))
    assert main(["autoencode", "--resume", str(out)]) == 0
    assert losses(out) == losses(whole)
    first, second = (load_file(run / "checkpoints" / "last.safetensors") for run in (whole, out))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_two_processes_train_together(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [sys.executable, "-m", "act3d", "autoencode", "--data.root", str(small), "--out", str(out), *TINY]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = [*words, "--trainer.devices", "2", "--trainer.epochs", "2"]
    done = subprocess.run(two, capture_output=True, text=True, env=env, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows = read_metrics(out / "metrics.csv")
    # 14 or 15 training clouds, 4 a step on each of 2 devices: one full step an epoch, the short rest is dropped.
    assert [row["step"] for row in rows if row["loss"]] == ["1", "2"]
    assert len([row for row in rows if row["val_cd_l1"]]) == 2
    resumed = [sys.executable, "-m", "act3d", "autoencode", "--resume", str(out), "--trainer.epochs", "3"]
    done = subprocess.run(resumed, capture_output=True, text=True, env=env, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in read_metrics(out / "metrics.csv") if row["loss"]] == ["1", "2", "3"]

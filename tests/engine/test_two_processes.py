"""Two CPU processes train together, whoever starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from act3d.engine.log import read_metrics
from tests.commands.test_training_commands import TINY
from tests.fixtures.packed import write_dataset
from tests.fixtures.together import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "shapes", per_class=24)


ACT3D = (sys.executable, "-m", "act3d")


def words(root: Path, out: Path, *more: str, program: Sequence[str] = ACT3D) -> list[str]:
    start = [*program, "autoencode", "--data.root", str(root), "--out", str(out), *TINY]
    return [*start, "--trainer.devices", "2", "--trainer.log_every", "100", *more]


def run(command: list[str], **environment: str) -> "subprocess.Popen[str]":
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)


def finish(*processes: "subprocess.Popen[str]") -> list[str]:
    """Wait for processes to end well; return what each said on its error stream."""
    said = [process.communicate(timeout=900)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    finish(run(words(root, out, "--trainer.epochs", "2")))
    return out


def test_a_process_says_that_it_waits_for_others(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "hasty.py"
    script.write_text(
        "from act3d.cli import run\nfrom act3d.engine import machine\nmachine.TELL_AFTER = 0.5\n"
        "if __name__ == '__main__':\n    run()\n"
    )
    more = ("--trainer.devices", "1", "--trainer.nodes", "2")
    command = words(root, tmp_path / "out", *more, program=(sys.executable, str(script)))
    alone = run(command, MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port(), NODE_RANK="0")
    try:
        assert alone.stderr is not None
        assert any("waits for all 2 processes" in line for line in alone.stderr)
    finally:
        alone.kill()
        alone.wait()


def losses(out: Path) -> list[str]:
    return [row["loss"] for row in read_metrics(out / "metrics.csv") if row["loss"]]


def test_a_resumed_run_logs_what_all_processes_saw(root: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut"
    finish(run(words(root, out, "--trainer.epochs", "2", "--trainer.max_steps", "3")))
    assert losses(out) == []  # in the middle of the first epoch, which has five steps
    finish(run([*ACT3D, "autoencode", "--resume", str(out), "--trainer.max_steps", "0"]))
    assert losses(out) == losses(whole)
    assert len(losses(out)) == 2


def slurm_tasks(command: list[str]) -> "list[subprocess.Popen[str]]":
    """Start a command as two tasks, as `srun` does."""
    common = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "1234", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "SLURM_JOB_NAME": "act3d"}
    return [run(command, **common, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in "01"]


def test_slurms_tasks_share_the_work(root: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "slurm"
    said = finish(*slurm_tasks(words(root, out, "--trainer.epochs", "2")))
    assert [said[0].count(word) for word in ("next: act3d", "finished after")] == [1, 1]
    assert [said[1].count(word) for word in ("next: act3d", "finished after")] == [0, 0]
    assert losses(out) == losses(whole)
    first, second = (load_file(folder / "checkpoints" / "last.safetensors") for folder in (whole, out))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_one_device_is_a_run_of_its_own_in_each_of_slurms_tasks(root: Path, tmp_path: Path) -> None:
    common = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "1234", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "act3d"}
    more = ("--trainer.devices", "1", "--trainer.epochs", "1")
    commands = {rank: words(root, tmp_path / rank, *more, "--seed", rank) for rank in "01"}
    said = finish(*(run(line, **common, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank, line in commands.items()))
    assert [error.count("next: act3d") for error in said] == [1, 1]
    for rank in "01":
        assert json.loads((tmp_path / rank / "results.json").read_text())["seed"] == int(rank)
        assert losses(tmp_path / rank)


def test_a_stopped_job_says_so_once(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "slurm"
    tasks = slurm_tasks(words(root, out, "--trainer.epochs", "100000"))
    deadline = time.monotonic() + 600
    while not (out / "metrics.csv").exists() or not losses(out):  # until an epoch is behind it
        assert time.monotonic() < deadline
        assert all(task.poll() is None for task in tasks)
        time.sleep(0.2)
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    errors = [task.communicate(timeout=600)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [128 + signal.SIGUSR1, 0]
    assert [error.count("act3d: stopped at step") for error in errors] == [1, 0]


KILLER = """
import os, signal
from act3d.cli import run
from act3d.engine.run import Run

if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    count = Run.count_batch

    def count_and_die(training, clouds):
        count(training, clouds)
        if training.step == 8:
            os.kill(os.getpid(), signal.SIGKILL)

    Run.count_batch = count_and_die
if __name__ == "__main__":
    run()
"""


@pytest.mark.fault
def test_torchrun_starts_a_run_again_which_goes_on(root: Path, whole: Path, tmp_path: Path) -> None:
    killer, out = tmp_path / "killer.py", tmp_path / "run"
    killer.write_text(KILLER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = words(root, out, "--trainer.epochs", "2", program=(str(killer),))
    said = finish(run([*torchrun, "--max-restarts", "1", *command]))[0]
    assert f"from step 5, into {out}" in said  # an epoch has five steps, and was saved
    assert losses(out) == losses(whole)

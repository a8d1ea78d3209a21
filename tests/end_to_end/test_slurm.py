"""The batch script of the documents, by a real SLURM where there is one: a job that is stopped is queued again."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from act3d.engine.log import read_metrics
from tests.commands.test_training_commands import TINY
from tests.fixtures.packed import write_dataset
from tests.fixtures.slurm import missing, slurm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
SCRIPT = Path(__file__).parents[2] / "docs" / "pretrain.sbatch"
ASKED = 8  # step; an epoch has five

# act3d, whose first task asks SLURM in the middle of the second epoch to signal the job, as it does before the time is
# up; it waits until the signal is there.
PROGRAM = f"""
import os, signal, subprocess, time
from act3d.cli import run
from act3d.engine.run import Run

count, came = Run.count_batch, []

def count_and_ask(training, clouds):
    count(training, clouds)
    if training.step == {ASKED} and os.environ["SLURM_PROCID"] == "0" and "SLURM_RESTART_COUNT" not in os.environ:
        handler = signal.getsignal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda number, frame: (came.append(number), handler(number, frame)))
        subprocess.run(["scancel", "--signal=USR1", os.environ["SLURM_JOB_ID"]], check=True)
        deadline = time.monotonic() + 300
        while not came and time.monotonic() < deadline:
            time.sleep(0.1)

Run.count_batch = count_and_ask
if __name__ == "__main__":
    run()
"""


def script(program: Path, words: list[str], out: Path) -> str:
    """The documents' script for two tasks of this machine on the CPU, with another command and folder."""
    text = SCRIPT.read_text()
    for old, new in (
        (r"#SBATCH --nodes=2", "#SBATCH --nodes=1"),
        (r"#SBATCH --ntasks-per-node=4", "#SBATCH --ntasks-per-node=2"),
        (r"#SBATCH --gpus-per-node=4\n", ""),
        (r"#SBATCH --cpus-per-task=8", "#SBATCH --cpus-per-task=1"),
        (r"out=runs/stage2", f"out={shlex.quote(str(out))}"),
        (
            r"act3d pretrain .*\\\n.*--out \"\$out\"",
            shlex.join([sys.executable, str(program), *words]) + ' --out "$out"',
        ),
    ):
        text, found = re.subn(old, lambda _, new=new: new, text)  # type: ignore[misc]
        assert found == 1, old
    return text


def job_of(env: dict[str, str], number: str) -> dict[str, str]:
    """What SLURM knows about a job."""
    shown = subprocess.run(
        ["scontrol", "-o", "show", "job", number], env=env, capture_output=True, text=True, check=True
    )
    return dict(item.partition("=")[::2] for item in shown.stdout.split() if "=" in item)


def wait_for(env: dict[str, str], number: str, log: Path) -> dict[str, str]:
    """Wait until a job has ended for good. A job that is queued again may start after two minutes: then now."""
    deadline = time.monotonic() + 1800
    while True:
        job = job_of(env, number)
        if job["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"):
            return job
        if job["JobState"] == "PENDING" and job["Reason"] == "BeginTime":
            subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], env=env, check=False)
        assert time.monotonic() < deadline, f"{job}\n{log.read_text() if log.exists() else ''}"
        time.sleep(1)


def test_a_job_that_slurm_stops_is_queued_again_and_ends_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    root, program = write_dataset(tmp_path / "shapes", per_class=24), tmp_path / "act3d_asks.py"
    program.write_text(PROGRAM)
    words = ["autoencode", "--data.root", str(root), *TINY, "--trainer.epochs", "2", "--trainer.log_every", "1"]
    words += ["--trainer.devices", "2"]
    whole = [sys.executable, "-m", "act3d", *words, "--out", str(tmp_path / "whole")]
    subprocess.run(whole, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    out, batch = tmp_path / "run", tmp_path / "job.sbatch"
    batch.write_text(script(program, words, out))
    with slurm(tmp_path / "slurm") as env:
        env["OMP_NUM_THREADS"] = "1"
        said = subprocess.run(
            ["sbatch", "--parsable", str(batch)], env=env, cwd=tmp_path, capture_output=True, text=True
        )
        assert said.returncode == 0, said.stderr
        log = tmp_path / f"act3d-pretrain-{said.stdout.strip()}.log"
        job = wait_for(env, said.stdout.strip(), log)
    assert (job["JobState"], job["Restarts"], job["ExitCode"]) == ("COMPLETED", "1", "0:0"), log.read_text()
    text = log.read_text()
    assert f"act3d: stopped at step {ASKED}" in text
    assert f"from step {ASKED}, into {out}" in text
    rows, expected = (read_metrics(folder / "metrics.csv") for folder in (out, tmp_path / "whole"))
    assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
    first, second = (load_file(folder / "checkpoints" / "last.safetensors") for folder in (tmp_path / "whole", out))
    assert all(torch.equal(first[name], second[name]) for name in first)

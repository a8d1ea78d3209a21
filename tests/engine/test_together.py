"""Several processes train as one would, and a run outlives the loss of one of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from act3d.engine.log import read_metrics
from tests.commands.test_training_commands import TINY
from tests.fixtures.packed import write_dataset
from tests.fixtures.together import Job, run_together

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Random numbers are drawn by every process for itself: without them, losses can be compared. AdamW divides a gradient
# by its size, so at larger rates a rounding error in a gradient that should be 0 becomes a whole step.
STILL = ("--schedule.noise", "0", "--data.augment", "none", "--optim.lr", "1e-5")
CUT, KILLED, ASKED = 3, 7, 8  # steps; an epoch has five
COUNTED = "TORCHELASTIC_RESTART_COUNT"  # by torchrun, for the processes that it starts


def words(root: Path, out: Path, batch: int, devices: int, nodes: int, *more: str) -> list[str]:
    start = ["autoencode", *TINY, *STILL, "--data.root", str(root), "--out", str(out), "--trainer.epochs", "2"]
    start += ["--data.batch_size", str(batch), "--trainer.devices", str(devices), "--trainer.nodes", str(nodes)]
    return [*start, *more]


class Runs:
    """All runs of this file, made by one process after another: imports would take most of the time."""

    def __init__(self, root: Path, out: Path) -> None:
        self.out = out

        def job(name: str, processes: int, nodes: int = 1, *more: str, **options: object) -> Job:
            batch = 8 // (processes * nodes)
            return Job(words(root, out / name, batch, processes, nodes, *more), processes, nodes, **options)  # type: ignore[arg-type]

        cut = ("--trainer.max_steps", str(CUT))
        first = [
            job("alone", 1), job("two", 2), job("four", 4), job("nodes", 1, 2), job("cut", 2, 1, *cut),
            job("killed", 2, signal=(1, KILLED, "SIGKILL")), job("first_killed", 2, signal=(0, KILLED, "SIGKILL")),
            job("asked", 2, signal=(0, ASKED, "SIGUSR1")),
        ]  # fmt: skip
        self.first, self.said = run_together(*first)
        for name in ("cut2", "cut1", "cut4"):
            shutil.copytree(out / "cut", out / name)
        on = ("--resume", "true", "--trainer.max_steps", "0")
        again = [
            job("cut2", 2, 1, *on), job("cut1", 1, 1, *on), job("cut4", 4, 1, *on),
            job("killed", 2, environment={COUNTED: "1"}), job("first_killed", 2, environment={COUNTED: "1"}),
            job("asked", 2, environment={"SLURM_RESTART_COUNT": "1"}),
        ]  # fmt: skip
        self.again, self.said_again = run_together(*again)

    def losses(self, name: str) -> list[float]:
        """Of every step, and of both validations the Chamfer distance."""
        rows = read_metrics(self.out / name / "metrics.csv")
        return [float(row["loss"] or row["val_cd_l1"]) for row in rows if row["loss"] or row["step"] != str(CUT)]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.out / name / "checkpoints" / "last.safetensors")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = write_dataset(tmp_path_factory.mktemp("data") / "shapes", per_class=24)
    return Runs(root, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", ["two", "four", "nodes"])
def test_processes_have_the_losses_of_one_with_the_whole_batch(runs: Runs, name: str) -> None:
    assert runs.first[:4] == [[0], [0, 0], [0, 0, 0, 0], [0, 0]], runs.said
    assert len(runs.losses("alone")) == 12
    assert runs.losses(name) == pytest.approx(runs.losses("alone"), rel=2e-4)


@pytest.mark.parametrize("name", ["cut1", "cut2", "cut4"])
def test_a_run_goes_on_with_the_same_or_other_processes(runs: Runs, name: str) -> None:
    assert runs.again[:3] == [[0, 0], [0], [0, 0, 0, 0]], runs.said_again
    if name == "cut2":
        assert runs.losses(name) == runs.losses("two")
        whole = runs.weights("two")
        assert all(torch.equal(value, whole[key]) for key, value in runs.weights(name).items())
    else:
        assert runs.losses(name) == pytest.approx(runs.losses("two"), rel=2e-4)
        assert f"processes was 2, now it is {name[-1]}" in runs.said_again


@pytest.mark.parametrize(("name", "job", "killed"), [("killed", 5, 1), ("first_killed", 6, 0)])
def test_who_is_left_ends_with_the_reason_and_a_restart_goes_on(runs: Runs, name: str, job: int, killed: int) -> None:
    codes = runs.first[job]
    assert (codes[killed], codes[1 - killed]) == (-9, 1), runs.said
    left = f"process {1 - killed}: another process of this run has ended or cannot be reached"
    assert f"{left}; go on from the last state with: act3d autoencode --resume {runs.out / name}" in runs.said
    assert runs.again[job - 2] == [0, 0], runs.said_again
    assert runs.losses(name) == runs.losses("two")


def test_a_run_that_was_asked_to_stop_is_queued_again(runs: Runs) -> None:
    assert runs.first[7] == [138, 0], runs.said
    assert f"stopped at step {ASKED}" in runs.said
    assert runs.again[5] == [0, 0], runs.said_again
    assert f"from step {ASKED}, into {runs.out / 'asked'}" in runs.said_again
    assert runs.losses("asked") == runs.losses("two")


def test_the_same_command_again_is_refused_without_a_restart(
    stage1: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage1(tmp_path / "run", epochs=1)
    with pytest.raises(Exception, match="holds a run"):
        stage1(tmp_path / "run", epochs=1)
    monkeypatch.setenv(COUNTED, "1")
    stage1(tmp_path / "run", epochs=1)

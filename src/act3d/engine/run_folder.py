"""A run's folder: its settings, its results, and the rule that nothing in it is ever lost by accident."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from act3d.engine.schedules import sized
from act3d.engine.state import PREVIOUS
from act3d.errors import ConfigError, InputError
from act3d.files import make_folder, read_json, write_json, write_text
from act3d.lines import say
from act3d.presets import RUN_HEADER
from act3d.progress import phase
from act3d.settings.model import Settings, to_dict
from act3d.settings.training import OptimConfig, TrainerConfig, TrainingSettings

LOCK = ".lock"


@dataclass
class RunResult:
    """What a training command gives back.

    Attributes:
        out: the run folder.
        metrics: final numbers by name, as in results.json.
        last: native weights at the end of training.
        best: native weights that validated best; None when nothing was validated.
    """

    out: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    last: Path | None = None
    best: Path | None = None


class RunFolder:
    """Names of the files in a run folder.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.results = self.path / "results.json"
        self.checkpoints = self.path / "checkpoints"
        self.state = self.checkpoints / "last.ckpt"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        self.teacher = self.path / "teacher.safetensors"
        self.start = self.path / "start.json"

    @property
    def holds_run(self) -> bool:
        """Whether a run has begun here."""
        return self.config.exists() or self.state.exists() or self.results.exists()

    @property
    def finished(self) -> bool:
        """Whether the run here came to its end."""
        return self.results.exists()

    @property
    def holds_state(self) -> bool:
        """Whether there is a state to go on from."""
        return self.state.exists() or self.state.with_name(PREVIOUS).exists()

    def kept_start(self, resume: bool) -> Path | None:
        """Return the file that says where the encoder of a run started from, if its weights come from its state."""
        return self.start if resume and self.holds_state else None

    def holds_teacher(self, resume: bool) -> bool:
        """Whether the run to go on with has its own copy of a teacher."""
        return resume and self.teacher.exists()

    def check(self, resume: bool) -> None:
        """Check that a new run can begin here, or that there is one to go on with.

        Raises:
            ConfigError: the folder holds a run already, or the folder is a file.
            InputError: there is nothing to resume.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"out: {self.path} is a file; give a folder")
        if resume and not self.holds_run:
            raise InputError(f"resume: {self.path} holds no run")
        if not resume and self.holds_run:
            raise ConfigError(
                f"out: {self.path} holds a run; go on with it by --resume, or choose another folder by --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from writing here meanwhile.

        Raises:
            ConfigError: another command writes here.
        """
        make_folder(self.path)
        try:
            lock = filelock.FileLock(self.path / LOCK, timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise ConfigError(
                f"out: another act3d command writes into {self.path}; wait for it, or choose another folder by --out"
            ) from None
        try:
            yield
        finally:
            lock.release()
            if [item.name for item in self.path.iterdir()] == [LOCK]:  # nothing has begun: leave no trace
                (self.path / LOCK).unlink()
                self.path.rmdir()

    def begin(self, settings: Settings, command: str) -> None:
        """Write the settings; results of a shorter run stay until the new ones replace them."""
        self.write_config(settings, command)

    def write_config(self, settings: Settings, command: str) -> None:
        """Write config.yaml, which `act3d COMMAND --config` reads."""
        import yaml

        text = yaml.safe_dump(to_dict(settings), sort_keys=False, allow_unicode=True)
        write_text(
            self.config,
            f"# {RUN_HEADER} {command} --config THIS_FILE --out NEW_FOLDER\n{text}",
        )

    def read_results(self) -> RunResult:
        """Return the result of a finished run.

        Raises:
            InputError: results.json is damaged.
        """
        results = read_json(self.results)
        metrics: Any = results.get("metrics") if isinstance(results, dict) else None
        if not isinstance(metrics, dict) or not all(
            isinstance(metrics.get(key, 0), int) for key in ("epochs", "steps")
        ):
            raise InputError(f"{self.results} is damaged: it has no metrics; remove it, and --resume writes it again")
        return self.result(metrics)

    def result(self, metrics: dict[str, Any]) -> RunResult:
        """Return what the command gives back."""
        last, best = (path if path.exists() else None for path in (self.last, self.best))
        return RunResult(self.path, metrics, last, best)

    def write_results(self, **entries: Any) -> None:
        """Write results.json."""
        write_json(self.results, {**entries, "versions": versions()})


def starting(command: str, plan: TrainerConfig) -> AbstractContextManager[None]:
    """Show that a training command loads libraries, data and models; in the first process of several only."""
    numbers = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    others = plan.joined and any(number != "0" for number in numbers)
    return phase(f"{command}: loading libraries, data and models", enabled=not others)


def refuse_results(out: str) -> None:
    """Check that a command that trains nothing may write its results to a folder; "" = it writes none.

    Raises:
        ConfigError: the folder holds results already.
    """
    if out and RunFolder(out).finished:
        raise ConfigError(f"out: {out} holds results already; choose another folder by --out")


def versions() -> dict[str, str]:
    """Return the versions of all that shapes a result."""
    names = ("act3d", "torch", "lightning-fabric", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def open_run(settings: TrainingSettings) -> tuple[RunFolder, RunResult | None]:
    """Return the folder that a training command writes to, and the result if the run to resume has ended already.

    Raises:
        ConfigError: a run lies there already, or the folder is a file.
        InputError: there is nothing to resume.
    """
    folder = RunFolder(settings.out)
    folder.check(settings.resume)
    return folder, _finished_run(folder, settings.trainer, settings.optim) if settings.resume else None


def _finished_run(folder: RunFolder, plan: TrainerConfig, optim: OptimConfig) -> RunResult | None:
    """Return the result of a run that has nothing left to do, after saying so; None when there is something to do."""
    if not folder.finished:
        return None
    result = folder.read_results()
    epochs, steps = result.metrics.get("epochs", 0), result.metrics.get("steps", 0)
    wanted = sized(plan, optim, steps // epochs)[0].epochs if epochs else plan.epochs
    if epochs < wanted and not (plan.max_steps and steps >= plan.max_steps):
        return None
    say(
        f"{folder.path} is finished ({epochs} epochs, {steps} steps); to train longer, raise --trainer.epochs"
        + "".join(f" and --trainer.{name}" for name in ("max_steps", "step_ceiling") if getattr(plan, name)),
        error=True,
    )
    return result

"""Loggers beside metrics.csv: TensorBoard, Weights & Biases, MLflow and trackio, through Lightning's interface.

All of them get the same numbers at the same steps. What is not installed is said before training begins.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric.loggers.logger import Logger

from act3d.errors import MissingDependency
from act3d.installing import how_to_install

PROJECT = "act3d"


def open_loggers(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any], step: int = 0, resumed: bool = False
) -> list[Logger]:
    """Return the loggers of a run, which have been told its settings.

    Args:
        names: of `LOGGERS`; "csv" is metrics.csv, which every run has.
        folder: the run folder; its name is the run's name.
        settings: of the run, with dotted keys.
        step: the step that the run starts from.
        resumed: later steps of an earlier run are to be hidden, and the same run of a service is to go on.

    Raises:
        MissingDependency: a package is not installed.
    """
    made = [LOGGERS[name](folder, step, resumed) for name in dict.fromkeys(names) if name != "csv"]
    for logger in made:
        if not isinstance(logger, _tensorboard_class()):  # as text: TensorBoard's own form of it needs more packages
            logger.log_hyperparams({key: str(value) for key, value in settings.items()})
    return made


def log_picture(logger: Logger, name: str, picture: np.ndarray, step: int) -> None:
    """Give a picture (H, W, 3) uint8 to a logger that takes pictures: TensorBoard and Weights & Biases."""
    if isinstance(logger, _tensorboard_class()):
        logger.experiment.add_image(name, picture, step, dataformats="HWC")
    elif hasattr(logger, "log_image"):
        logger.log_image(key=name, images=[picture], step=step)


def takes_pictures(logger: Logger) -> bool:
    """Whether `log_picture` does anything."""
    return isinstance(logger, _tensorboard_class()) or hasattr(logger, "log_image")


def run_id(folder: Path) -> str:
    """Return an id that a resumed run has again, of characters that every service takes."""
    import hashlib

    name = re.sub(r"[^A-Za-z0-9_-]", "-", folder.name)[:40]
    return f"{name}-{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]}"


def _tensorboard_class() -> Any:
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    return TensorBoardLogger


def _tensorboard(folder: Path, step: int, resumed: bool) -> Logger:
    # purge_step hides the events that a killed run wrote after the checkpoint.
    purge = {"purge_step": step + 1} if resumed else {}
    logger: Logger = _tensorboard_class()(folder.parent, name=folder.name, version="", **purge)
    return logger


def _wandb(folder: Path, step: int, resumed: bool) -> Logger:
    try:
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(name=folder.name, project=PROJECT, save_dir=folder, id=run_id(folder), resume="allow")
    except ImportError as error:
        raise MissingDependency(f"logger: wandb needs two packages: {how_to_install('wandb')}") from error


def _mlflow(folder: Path, step: int, resumed: bool) -> Logger:
    import os

    # Without a server of the user's, a file in the run folder; MLflow's own default is the current folder.
    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').absolute()}"
    try:
        from pytorch_lightning.loggers import MLFlowLogger

        return MLFlowLogger(experiment_name=PROJECT, run_name=folder.name, tracking_uri=place)
    except ImportError as error:
        raise MissingDependency(f"logger: mlflow needs two packages: {how_to_install('mlflow')}") from error


class TrackioLogger(Logger):
    """trackio, which Lightning has no logger for, in Lightning's interface."""

    def __init__(self, folder: Path, step: int, resumed: bool) -> None:
        try:
            import trackio
        except ImportError as error:
            raise MissingDependency(f"logger: trackio is not installed: {how_to_install('trackio')}") from error
        self._module, self._folder, self._resumed = trackio, folder, resumed
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return PROJECT

    @property
    def version(self) -> str:
        """The run."""
        return run_id(self._folder)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Begin the run with its settings."""
        resume = "allow" if self._resumed else "never"
        self._run = self._module.init(project=PROJECT, name=self.version, config=dict(params), resume=resume)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write numbers of a step."""
        self._run.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        """Write what is left."""
        if self._run is not None:
            self._run.finish()


LOGGERS: dict[str, Any] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": TrackioLogger,
}

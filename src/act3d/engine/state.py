"""The position of a run, and the file that it is resumed from: `checkpoints/last.ckpt`."""

import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from act3d.engine import processes
from act3d.errors import CheckpointError, reason_of
from act3d.files import atomic_path
from act3d.lines import say

FORMAT = "act3d-run-1"
PREVIOUS = "previous.ckpt"  # the state before last.ckpt


@dataclass
class Position:
    """How far a run is.

    Attributes:
        epoch: epochs behind us.
        batch: batches of this process behind us in the current epoch.
        pending: the validation that is due here has not been done yet.
        training_s: seconds of training so far, over all sessions.
        duration_s: the same with validation and saving.
        clouds: clouds trained on so far, over all sessions and processes.
        rows: rows of metrics.csv so far.
        best: best validation result so far, None before the first.
    """

    epoch: int = 0
    batch: int = 0
    pending: bool = False
    training_s: float = 0.0
    duration_s: float = 0.0
    clouds: int = 0
    rows: int = 0
    best: float | None = None


def all_finite(model: nn.Module) -> bool:
    """Tell whether every trainable parameter holds finite numbers only, in all processes."""
    parts = [processes.own_part(parameter) for parameter in model.parameters() if parameter.requires_grad]
    sums = torch.stack([part.detach().float().sum() for part in parts])
    return all(processes.gather_objects(bool(torch.isfinite(sums).all())))


def write_state(path: Path, state: dict[str, Any], position: Position) -> None:
    """Write a run's state, whole or not at all; the one that was there stays beside it, to fall back to."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "position": asdict(position), **state}, temporary)
        if path.exists():
            path.replace(path.with_name(PREVIOUS))


def read_state(path: Path) -> tuple[dict[str, Any], Position]:
    """Read what `write_state` wrote, to the CPU, without running code from the file.

    Where the file is damaged or missing and the one before it is whole, that one is read, after saying so.

    Raises:
        CheckpointError: no such file, not a run's state, or damaged.
    """
    previous = path.with_name(PREVIOUS)
    try:
        return _read(path)
    except CheckpointError as error:
        if not previous.exists():
            raise
        found = _read(previous)
        say(f"{error}; continuing from the state before it, {previous}", error=True)
        return found


def _read(path: Path) -> tuple[dict[str, Any], Position]:
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; there is nothing to resume")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch raises a different type for every kind of damage
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not the state of an act3d run")
    return state, Position(**state["position"])

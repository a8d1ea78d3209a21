"""Trained models in use."""

from pathlib import Path
from typing import Any

from act3d import checkpoints


def load(path: str | Path, device: str | None = None) -> Any:
    """The model of a checkpoint with its `meta`, `left_over` and `missing`; see `checkpoints.load`."""
    found = checkpoints.load(path, device)
    model: Any = found.model
    model.meta, model.left_over, model.missing = found.meta, found.left_over, found.missing
    return model

"""Models in and out of files: act3d's own format and the released ones."""

from pathlib import Path
from typing import Any

import torch

from act3d.checkpoints.native import load_native, load_stored_state, read_header, save, stored_state
from act3d.checkpoints.released import load_released
from act3d.errors import CheckpointError

_PREFERRED = ("best.safetensors", "last.safetensors")


def resolve(path: str | Path) -> Path:
    """The weights file that a path means: itself, or a run folder's best (else last) native checkpoint.

    Raises:
        CheckpointError: Nothing there.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise CheckpointError(f"{path}: no such file or run folder")
        return path
    for folder in (path / "checkpoints", path):
        for name in _PREFERRED:
            if (folder / name).is_file():
                return folder / name
    raise CheckpointError(f"{path}: holds no finished weights (looked for checkpoints/{' and '.join(_PREFERRED)})")


def load(path: str | Path, device: str | torch.device | None = None) -> Any:
    """The model of a checkpoint, in eval mode: a native file, a run folder, or a released file.

    Args:
        path: `.safetensors` written by act3d, a run folder (its best weights), or a released `.pth`.
        device: Where to put it; CPU by default.

    Returns:
        The model; `.meta` holds what the file says of itself, `.left_over` names that a released file had to spare.

    Raises:
        CheckpointError: Missing, truncated or foreign file, or one that covers less than its model.
    """
    path = resolve(path)
    with path.open("rb") as file:
        start = file.read(9)
    model: Any
    if len(start) == 9 and start[8:9] == b"{":  # safetensors: 8 bytes of length, then JSON
        model = load_native(path)
    else:
        loaded = load_released(path)
        model = loaded.model
        model.meta = {"source": path.name, "released": True}
        model.left_over, model.missing = loaded.left_over, loaded.missing
    return model if device is None else model.to(device)


__all__ = [
    "load",
    "load_native",
    "load_released",
    "load_stored_state",
    "read_header",
    "resolve",
    "save",
    "stored_state",
]

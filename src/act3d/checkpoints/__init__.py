"""Models in and out of files: act3d's own format and the released ones."""

from pathlib import Path
from typing import Any

import torch

from act3d.checkpoints.native import load_native, load_stored_state, read_header, save, stored_state
from act3d.checkpoints.released import load_released
from act3d.errors import CheckpointError, InputError
from act3d.use.points import POINTS_PER_PATCH

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
        The model. `.meta` holds what the file says of itself; `.left_over` names that a released file had to spare;
        `.missing` parameters that it lacked (only what the encoder does not need; they hold random numbers).

    Raises:
        CheckpointError: Missing, truncated or foreign file, or one that covers less than its model.
    """
    path = resolve(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    model: Any
    if len(start) == 9 and start[8:9] == b"{":  # safetensors: 8 bytes of length, then JSON
        model = load_native(path)
    else:
        loaded = load_released(path)
        model = loaded.model
        model.meta = released_meta(model, path)
        model.left_over, model.missing = loaded.left_over, loaded.missing
    if device is None:
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["not there"])[0]
        raise InputError(f"device {str(device)!r} cannot be used: {reason}") from error


def released_meta(model: Any, path: Path) -> dict[str, Any]:
    """What a released file does not say of itself, but its recipe does: how clouds are treated."""
    scenes = model.kind == "segmenter" and not model.categories
    return {
        "source": path.name,
        "released": True,
        "points": POINTS_PER_PATCH * model.patches,
        "normalization": "none" if scenes else "unit_sphere",
        "source_up": "y",
        "protocol": "legacy",
    }


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

"""Models in and out of files: act3d's own format and the released ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from torch import nn

from act3d.checkpoints.native import load_native, load_stored_state, read_header, save, stored_state
from act3d.checkpoints.released import SCANOBJECTNN_CLASSES, load_released
from act3d.device import choose_device
from act3d.errors import CheckpointError
from act3d.files import weights_file as resolve

POINTS_PER_PATCH = 16  # released recipes: 1024 points for 64 patches, 2048 for 128, 8192 for 512
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint(Generic[M]):
    """A model read from a file, and what the file says.

    Attributes:
        model: In eval mode.
        meta: Facts beside the weights, see `act3d.checkpoints.native`.
        left_over: Names that a released file has and the model does not need.
        missing: Parameters that the file lacks: only what the encoder does not need; they hold random numbers.
        path: The weights file.
    """

    model: M
    meta: dict[str, Any]
    left_over: list[str]
    missing: list[str]
    path: Path


@overload
def load(path: str | Path, device: str | torch.device | None = None) -> Checkpoint[Any]: ...


@overload
def load(
    path: str | Path, device: str | torch.device | None = None, *, expect: type[M] | tuple[type[M], ...] | None
) -> Checkpoint[M]: ...


def load(path: str | Path, device: str | torch.device | None = None, expect: Any = None) -> Checkpoint[Any]:
    """The model of a checkpoint, in eval mode: a native file, a run folder, or a released file.

    Args:
        path: `.safetensors` written by act3d, a run folder (its best weights), or a released `.pth`.
        device: Where to put it: a name for `choose_device`; CPU by default.
        expect: The class that the model must have, or a tuple of classes; by default any.

    Raises:
        CheckpointError: Missing, truncated or foreign file, one that covers less than its model, or a model of
            another class than expected.
        InputError: No such device.
    """
    target = None if device is None else choose_device(device)
    path = resolve(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if len(start) == 9 and start[8:9] == b"{":  # safetensors: 8 bytes of length, then JSON
        model, meta = load_native(path)
        found = Checkpoint(model, meta, [], list(meta.get("missing", [])), path)
    else:
        loaded = load_released(path)
        meta = released_meta(loaded.model, path) | ({"missing": loaded.missing} if loaded.missing else {})
        found = Checkpoint(loaded.model, meta, loaded.left_over, loaded.missing, path)
    _refuse_others(found, expect)
    if target is not None:
        found.model.to(target)
    return found


def _refuse_others(found: Checkpoint[Any], expect: Any) -> None:
    if expect is None or isinstance(found.model, expect):
        return
    kinds = [str(wanted.kind) for wanted in (expect if isinstance(expect, tuple) else (expect,))]
    raise CheckpointError(f"{found.path} holds {_a(found.model.kind)}, not {_a(_either(kinds))}")


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def released_meta(model: Any, path: Path) -> dict[str, Any]:
    """What a released file does not say of itself, but its recipe does: how clouds are treated."""
    # ScanObjectNN's clouds and blocks of rooms are taken as they are stored.
    scans = model.kind == "classifier" and model.classes == SCANOBJECTNN_CLASSES
    rooms = model.kind == "segmenter" and not model.categories
    return {
        "source": path.name,
        "released": True,
        "points": POINTS_PER_PATCH * model.patches,
        "normalization": "none" if scans or rooms else "unit_sphere",
        **({"up": "z", "source_up": "z"} if rooms else {"source_up": "y"}),
        "protocol": "legacy",
    }


def assumptions(meta: Mapping[str, Any]) -> list[str]:
    """What `released_meta` takes for granted about a model's clouds, as a line to be said; nothing for native files."""
    if not meta.get("released"):
        return []
    how = "as they are stored" if meta.get("normalization") == "none" else "in the unit sphere"
    return [f"a released file does not say how clouds are to be given: {meta.get('points')} points, {how}, are assumed"]


__all__ = [
    "Checkpoint",
    "assumptions",
    "load",
    "load_native",
    "load_released",
    "load_stored_state",
    "read_header",
    "resolve",
    "save",
    "stored_state",
]

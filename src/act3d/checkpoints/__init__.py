"""Models in and out of files: act3d's own format and the released ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from torch import nn

from act3d.checkpoints.difference import base_state, save_difference
from act3d.checkpoints.hub_file import fetch
from act3d.checkpoints.native import load_native, load_stored_state, read_header, save, stored_state
from act3d.checkpoints.released import SCANOBJECTNN_CLASSES, load_released
from act3d.device import choose_device
from act3d.errors import CheckpointError
from act3d.known_models import KnownModel, local_weights, named_model
from act3d.native_header import written_by_act3d

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
def load(
    path: str | Path, device: str | torch.device | None = None, *, base: str | Path | None = None
) -> Checkpoint[Any]: ...


@overload
def load(
    path: str | Path,
    device: str | torch.device | None = None,
    *,
    expect: type[M] | tuple[type[M], ...] | None,
    base: str | Path | None = None,
) -> Checkpoint[M]: ...


def load(
    path: str | Path, device: str | torch.device | None = None, expect: Any = None, *, base: str | Path | None = None
) -> Checkpoint[Any]:
    """The model of a checkpoint, in eval mode: a native file, a run folder, a released file, or a name.

    Args:
        path: `.safetensors` written by act3d, a run folder (its best weights), a released file (`.pth` or
            `.safetensors`), `hub:OWNER/NAME`, or a name of `act3d.known_models`.
        device: Where to put it: a name for `choose_device`; CPU by default.
        expect: The class that the model must have, or a tuple of classes; by default any.
        base: Where the base of a checkpoint of a difference is, if it is not where it was.

    Raises:
        CheckpointError: Missing, truncated or foreign file, one that covers less than its model, or a model of
            another class than expected.
        InputError: No such device.
    """
    target = None if device is None else choose_device(device)
    path, row = find(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    is_safetensors = len(start) == 9 and start[8:9] == b"{"  # 8 bytes of length, then JSON
    if is_safetensors and written_by_act3d(path):
        model, meta = load_native(path, base_state(path, base, load))
        found = Checkpoint(model, meta, [], list(meta.get("missing", [])), path)
    elif base is not None:
        raise CheckpointError(f"{path} is whole; it takes no base")
    else:
        found = _load_foreign(path, row)
    _refuse_others(found, expect)
    if target is not None:
        found.model.to(target)
    return found


def find(path: str | Path) -> tuple[Path, KnownModel | None]:
    """The weights file that a path or name means, fetched if it is on the Hub; and its row of the table.

    Raises:
        CheckpointError: Nothing of that name, or it cannot be had.
    """
    repository, row = named_model(str(path)) or ("", None)
    if not repository or (row is not None and row.shipped is not None):
        return local_weights(path), row
    return fetch(repository, **({} if row is None else {"revision": row.revision})), row


def _load_foreign(path: Path, row: KnownModel | None) -> Checkpoint[Any]:
    """A file that act3d did not write: its content says which model it is, the table how clouds are given to it."""
    loaded = load_released(path)
    model: Any = loaded.model
    if row is not None:  # weights do not depend on how many patches a cloud is cut into
        model.patches = model.config["patches"] = row.patches
    meta = released_meta(model, path) | ({"missing": loaded.missing} if loaded.missing else {})
    if row is not None:
        meta |= row.facts()
    return Checkpoint(model, meta, loaded.left_over, loaded.missing, path)


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
    if not meta.get("released") or "name" in meta:  # a name of the table: it says so
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
    "save",
    "save_difference",
    "stored_state",
]

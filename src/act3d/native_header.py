"""The header of a native checkpoint: what it says of itself before any weights are read. Without torch."""

import json
from pathlib import Path
from typing import Any

from act3d.errors import CheckpointError

FORMAT = "act3d-1"


def read_header(path: str | Path) -> dict[str, Any]:
    """Kind, config and meta of a native checkpoint, without reading its weights.

    Raises:
        CheckpointError: Not a file, not safetensors, truncated, or not written by act3d.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as a safetensors file ({first_line(error)})") from error
    try:
        header = json.loads(metadata["act3d"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: a safetensors file, but not one that act3d wrote") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: a safetensors file, but not one that act3d wrote")
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {header.get('format')!r}; this version reads {FORMAT!r}")
    return header


def written_by_act3d(path: str | Path) -> bool:
    """Tell whether a safetensors file says that act3d wrote it. False for a damaged one that says nothing.

    Raises:
        CheckpointError: Not a safetensors file, or truncated.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path), framework="numpy") as file:
            return "act3d" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as a safetensors file ({first_line(error)})") from error


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a safetensors file, by name."""
    from safetensors import safe_open

    with safe_open(Path(path), framework="numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]

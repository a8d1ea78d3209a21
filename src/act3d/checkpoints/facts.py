"""Checks of what a checkpoint says beside its weights: commands rely on it, and a file can say anything."""

from collections.abc import Callable
from typing import Any

from act3d.errors import CheckpointError

MOST_POINTS = 1 << 24  # of a cloud; no tensor tells how many, so a file could ask for any number


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _axis(value: Any) -> bool:
    return value in ("x", "y", "z")


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str | int) for name in value)


def _offset(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_number(v, -1e15, 1e15) for v in value)


def _axes(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_axis, value.values()))


def _parts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(ids, list) and all(_count(part, 1 << 16) for part in ids) for ids in value.values()
    )


# What each fact has to be, if it is there.
FACTS: dict[str, Callable[[Any], bool]] = {
    "points": lambda value: _count(value, MOST_POINTS),
    "normalization": lambda value: value in ("unit_sphere", "none"),
    "up": _axis,
    "source_up": _axis,
    "source_formats": _axes,
    "scale": lambda value: _number(value, 1e-12, 1e12),
    "offset": _offset,
    "classes": _names,
    "parts": _names,
    "class_parts": _parts,
    "block": lambda value: _number(value, 1e-3, 1e6),
    "stride": lambda value: _number(value, 1e-3, 1e6),
    "data": lambda value: isinstance(value, dict),
    "settings": lambda value: isinstance(value, dict),
}


def check_facts(meta: Any, path: object) -> dict[str, Any]:
    """Return the facts of a checkpoint.

    Raises:
        CheckpointError: they are no facts, or one is not what it has to be; names it.
    """
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path}: damaged: its facts are no facts")
    for name, fits in FACTS.items():
        value = meta.get(name)
        if value is not None and not fits(value):
            shown = repr(value)
            raise CheckpointError(f"{path}: damaged: it says {name} = {shown[:60]}{'...' if len(shown) > 60 else ''}")
    return dict(meta)

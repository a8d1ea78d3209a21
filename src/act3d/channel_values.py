"""Values of channels (`act3d.channels`): on disk, of colours, and of points that have others than are wanted."""

from collections.abc import Sequence

import numpy as np

from act3d.channels import WIDTHS, columns_of

LARGEST = 127  # a value of 1 on disk, in a signed byte


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Values in -1..1 as int8; what is not finite becomes 0, not known."""
    return np.round(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1) * LARGEST).astype(np.int8)


def from_bytes(stored: np.ndarray) -> np.ndarray:
    """int8 as float32 in -1..1."""
    return stored.astype(np.float32) / LARGEST


def from_colors(colors: np.ndarray) -> np.ndarray:
    """Colours in 0..1 as channel values in -1..1."""
    return 2 * colors - 1


def recast(values: np.ndarray, own: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Values (..., F) of channels `own` as those of channels `wanted` (..., W), with 0 where one is not there."""
    here = columns_of(own)
    empty = np.zeros(values.shape[:-1], dtype=values.dtype)[..., None]
    parts = [values[..., here[name]] if name in here else np.repeat(empty, WIDTHS[name], -1) for name in wanted]
    return np.concatenate(parts, axis=-1) if parts else values[..., :0]

"""Finding and reading what datasets are made of: folders, lists, arrays. Without torch: see `description`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from act3d.errors import InputError, reason_of
from act3d.readers.limits import read_regular
from act3d.readers.text import decode


def open_npy(path: Path) -> np.ndarray:
    """Memory-map the array in a `.npy` file.

    Raises:
        InputError: missing, damaged, cut off, or an array of objects.
    """
    try:
        with np.errstate(all="ignore"):  # of sizes that a damaged header multiplies
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except Exception as error:  # a damaged header can raise anything
        raise InputError(f"{path} is damaged or cut off ({reason_of(error)})") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty, without blanks around them or a byte order mark.

    Raises:
        InputError: missing, or neither UTF-8 nor UTF-16.
    """
    try:
        text = decode(read_regular(path))
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    if "\ufffd" in text:
        raise InputError(f"{path} is no text in UTF-8 or UTF-16")
    return [line.strip() for line in text.splitlines() if line.strip()]


def first_base(root: Path, inside: Sequence[str], marks: Sequence[str]) -> Path | None:
    """The first of `root` and the folders `inside` it that holds any of `marks`; None if there is none."""
    for base in (root, *(root / name for name in inside)):
        if any((base / mark).exists() for mark in marks):
            return base
    return None

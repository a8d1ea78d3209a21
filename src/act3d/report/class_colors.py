"""One colour a class, for pictures, PLY files and charts."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNLABELLED_COLOR = (128, 128, 128)
# The classes of S3DIS in its order, with the colours that are customary for them.
_S3DIS = {
    "ceiling": (120, 200, 120), "floor": (70, 90, 160), "wall": (150, 205, 215), "beam": (240, 200, 60),
    "column": (200, 60, 190), "window": (110, 130, 235), "door": (190, 170, 90), "table": (165, 115, 195),
    "chair": (220, 60, 50), "sofa": (225, 130, 110), "bookcase": (20, 155, 95), "board": (230, 230, 230),
    "clutter": (70, 70, 70),
}  # fmt: skip


# Okabe and Ito (2008): told apart with any kind of colour vision, on white and on black.
_SAFE = ("0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00")
_MARKERS = "o^sDvP*X"


def class_colors(classes: Sequence[str]) -> NDArray[np.uint8]:
    """Colours (K, 3) uint8, one a class; neighbours in the list differ in hue and lightness."""
    if list(classes) == list(_S3DIS):
        return np.array(list(_S3DIS.values()), dtype=np.uint8)
    if len(classes) <= len(_SAFE):
        return np.frombuffer(bytes.fromhex("".join(_SAFE[: len(classes)])), dtype=np.uint8).reshape(-1, 3).copy()
    colors = [colorsys.hls_to_rgb(i * 0.381966 % 1, (0.42, 0.62)[i % 2], 0.65) for i in range(len(classes))]
    return (255 * np.array(colors)).round().astype(np.uint8)


def label_colors(labels: NDArray[np.integer], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Colours (n, 3) uint8 of labels (n,); grey where the label is -1."""
    palette = np.concatenate([class_colors(classes), [UNLABELLED_COLOR]]).astype(np.uint8)
    return palette[labels]


def hex_colors(classes: Sequence[str]) -> list[str]:
    """CSS colours of `class_colors`."""
    return [f"#{color.tobytes().hex()}" for color in class_colors(classes)]


def marked_colors(count: int) -> list[tuple[str, str]]:
    """CSS colour and matplotlib marker of every class: six colours that all tell apart, then again with other markers.

    Up to 48 classes differ; up to six have the colours of `class_colors`.
    """
    return [(f"#{_SAFE[i % len(_SAFE)]}", _MARKERS[i // len(_SAFE) % len(_MARKERS)]) for i in range(count)]

"""One colour a class, for pictures, PLY files and charts."""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

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
# Markers by their names in matplotlib, with the SVG path of a radius of about 1.
MARKERS = {
    "o": "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z", "^": "M0-1.2 1.1.8H-1.1Z", "s": "M-.95-.95H.95V.95H-.95Z",
    "D": "M0-1.3 1.3 0 0 1.3-1.3 0Z", "v": "M0 1.2 1.1-.8H-1.1Z",
    "P": "M-.4-1.2H.4V-.4H1.2V.4H.4V1.2H-.4V.4H-1.2V-.4H-.4Z",
    "*": "M0-1.4.33-.45H1.33L.53.17.82 1.13 0 .56-.82 1.13-.53.17-1.33-.45H-.33Z",
    "X": "M0-.55.55-1.1 1.1-.55.55 0 1.1.55.55 1.1 0 .55-.55 1.1-1.1.55-.55 0-1.1-.55-.55-1.1Z",
    "<": "M-1.2 0 .8-1.1V1.1Z", ">": "M1.2 0-.8-1.1V1.1Z",
    "x": "M0-.3.8-1.1 1.1-.8.3 0 1.1.8.8 1.1 0 .3-.8 1.1-1.1.8-.3 0-1.1-.8-.8-1.1Z",
    ".": "M.5 0A.5.5 0 1 1-.5 0A.5.5 0 1 1 .5 0Z",
}  # fmt: skip
_OF_CLASSES = "o^sDvP*X<>"
MARKED = len(_SAFE) * len(_OF_CLASSES)  # classes that a map can tell apart


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
    """CSS colour and marker (a key of `MARKERS`) of every class: six colours that all tell apart, then other markers.

    `MARKED` classes differ, later ones look like earlier ones; up to six have the colours of `class_colors`.
    """
    return [(f"#{_SAFE[i % len(_SAFE)]}", _OF_CLASSES[i // len(_SAFE) % len(_OF_CLASSES)]) for i in range(count)]


class Mark(NamedTuple):
    """How a map shows a class: name in the legend, CSS colour, and marker (a key of `MARKERS`)."""

    name: str
    color: str
    marker: str


def class_marks(labels: NDArray[np.integer], classes: Sequence[str]) -> dict[int, Mark]:
    """Return how a map shows every label (S,) that occurs, in the order of its legend.

    All classes look different: of more than `MARKED`, the largest get marks, the others are dots of one grey. -1 means
    no class.
    """
    shown, counts = np.unique(labels[labels >= 0], return_counts=True)
    large = sorted(shown[np.argsort(-counts, kind="stable")[: MARKED if len(shown) > MARKED else None]].tolist())
    # A class keeps its mark, whichever others a map shows, as long as the marks last for the whole list.
    styles = marked_colors(len(classes))
    ranks = dict(zip(large, large if len(classes) <= MARKED else range(len(large)), strict=True))
    marks = {label: Mark(classes[label], *styles[ranks[label]]) for label in large}
    rest = Mark(f"{len(shown) - len(large)} smaller classes", "#888888", ".")
    marks |= {label: rest for label in shown.tolist() if label not in marks}
    return marks | ({-1: Mark("no class", "#888888", "x")} if (labels < 0).any() else {})

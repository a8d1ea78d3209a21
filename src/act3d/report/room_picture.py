"""A picture of a room: predicted labels beside the true ones, with a title and the names of the colours."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from act3d.report.class_colors import hex_colors, label_colors
from act3d.report.cloud_picture import cloud_image

SHOWN = 40_000  # points at most
_DPI = 150


def render_room(
    points: NDArray[np.float32],
    predicted: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    title: str = "",
) -> bytes:
    """Return a PNG of a room seen from above at an angle: predicted labels on the left, true labels on the right.

    Args:
        points: (n, 3), z up.
        predicted, labels: (n,) class ids; -1 = unlabelled.
        classes: Class names.
        title: What the room is called.
    """
    # The ceiling would hide the room: the highest tenth is left out.
    inside = np.flatnonzero(points[:, 2] < points[:, 2].min() + 0.9 * np.ptp(points[:, 2]))
    if len(inside) > SHOWN:
        inside = np.random.default_rng(0).choice(inside, SHOWN, replace=False)
    upright = points[inside][:, [0, 2, 1]] * np.array([1, 1, -1])  # z up -> y up
    beside = upright + np.array([1.15 * np.ptp(upright[:, 0]), 0, 0])
    colors = np.concatenate([label_colors(which[inside], classes) for which in (predicted, labels)]) / 255
    both = np.concatenate([upright, beside])
    image = cloud_image(both, colors, size=1000, radius=0.005, azimuth=0, elevation=50)
    drawn = np.flatnonzero(image[..., 3].any(axis=1))
    used = np.unique(np.concatenate([predicted[inside], labels[inside]]))
    legend = [(classes[i], hex_colors(classes)[i]) for i in used if i >= 0]
    legend += [("unlabelled", "#808080")] if (used < 0).any() else []
    return _with_words(image[drawn[0] : drawn[-1] + 1], title, legend)


def _with_words(image: NDArray[np.float64], title: str, legend: Sequence[tuple[str, str]]) -> bytes:
    """Return the picture (h, w, 4) as a PNG on white, with titles above and a legend below."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = -(-len(legend) // 7)
    width, high = 7.0, 7.0 * image.shape[0] / image.shape[1]
    top, foot = 0.5, 0.22 * rows + 0.1
    height = top + high + foot
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, foot / height, 1, high / height))
    axes.imshow(image, aspect="auto")
    axes.set_axis_off()
    figure.text(0.5, 1 - 0.04 / height, title, ha="center", va="top", weight="bold", size=9, parse_math=False)
    for text, place in (("predicted", 0.27), ("true", 0.73)):
        figure.text(place, (foot + high + 0.05) / height, text, ha="center", va="bottom", size=9)
    patches = [Patch(color=color, label=name) for name, color in legend]
    figure.legend(handles=patches, loc="lower center", ncols=7, frameon=False, fontsize=7.5, handlelength=1)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": "act3d"})
    return buffer.getvalue()

"""A picture of a room: predicted labels beside the true ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from act3d.report.class_colors import label_colors
from act3d.report.cloud_picture import render_cloud

SHOWN = 40_000  # points at most


def render_room(
    points: NDArray[np.float32], predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: Sequence[str]
) -> bytes:
    """Return a PNG of a room seen from above at an angle: predicted labels on the left, true labels on the right.

    Args:
        points: (n, 3), z up.
        predicted, labels: (n,) class ids; -1 = unlabelled.
        classes: Class names.
    """
    # The ceiling would hide the room: the highest tenth is left out.
    inside = np.flatnonzero(points[:, 2] < points[:, 2].min() + 0.9 * np.ptp(points[:, 2]))
    if len(inside) > SHOWN:
        inside = np.random.default_rng(0).choice(inside, SHOWN, replace=False)
    upright = points[inside][:, [0, 2, 1]] * np.array([1, 1, -1])  # z up -> y up
    beside = upright + np.array([1.15 * np.ptp(upright[:, 0]), 0, 0])
    colors = np.concatenate([label_colors(which[inside], classes) for which in (predicted, labels)]) / 255
    return render_cloud(np.concatenate([upright, beside]), colors, size=1000, radius=0.005, azimuth=0, elevation=50)

"""A room's predicted labels beside the true ones, as a picture."""

from collections.abc import Sequence

import numpy as np

PICTURED = 40_000  # points shown


def picture_of(points: np.ndarray, found: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> bytes:
    """A PNG of a room from above at an angle: as predicted on the left, the truth on the right."""
    from act3d.report import render_cloud
    from act3d.use.labelled_clouds import colors_of

    # A lid hides the room: what lies in the highest tenth is left out.
    inside = np.flatnonzero(points[:, 2] < points[:, 2].min() + 0.9 * np.ptp(points[:, 2]))
    if len(inside) > PICTURED:
        inside = np.random.default_rng(0).choice(inside, PICTURED, replace=False)
    upright = points[inside][:, [0, 2, 1]] * np.array([1, 1, -1])  # z up -> y up
    beside = upright + np.array([1.15 * np.ptp(upright[:, 0]), 0, 0])
    colors = np.concatenate([colors_of(found[inside], classes), colors_of(labels[inside], classes)]) / 255
    return render_cloud(np.concatenate([upright, beside]), colors, size=1000, radius=0.005, azimuth=0, elevation=50)

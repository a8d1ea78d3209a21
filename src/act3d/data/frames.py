"""Up axes and normalizations by name; without torch, so that processes that prepare data start fast."""

import numpy as np

from act3d.errors import InputError

UP_AXES = ("x", "y", "z")
NORMALIZATIONS = ("unit_sphere", "none")

# Proper rotations (no mirror) that carry the named axis to y. Rows are the new x, y, z.
_TO_Y_UP: dict[str, list[list[float]]] = {
    "x": [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
    "y": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "z": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]],
}


def rotation_to_y_up(up: str) -> np.ndarray:
    """The (3, 3) float64 matrix R for which `points @ R.T` stands upright along y when `points` stood along `up`."""
    if up not in _TO_Y_UP:
        raise InputError(f"up axis {up!r} is not known; allowed: {', '.join(UP_AXES)}")
    return np.array(_TO_Y_UP[up])

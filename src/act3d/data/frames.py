"""Up axes and normalizations by name; without torch, so that processes that prepare data start fast."""

from act3d.readers.up_axis import UP_AXES, rotation_to_y_up

__all__ = ["NORMALIZATIONS", "UP_AXES", "rotation_to_y_up"]

NORMALIZATIONS = ("unit_sphere", "none")

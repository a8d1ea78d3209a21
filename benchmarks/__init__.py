"""Speed of act3d against the textbook form of the same arithmetic, measured in turn within one process."""

import act3d  # noqa: F401  (sets how threads wait, before torch is imported)

"""Speed of act3d against the textbook form of the same arithmetic, measured in turn within one process."""

"""Speed of act3d against the textbook form of the same arithmetic, measured in turn within one process."""

from act3d.cli import set_waiting

set_waiting()  # as the command line does, before torch is imported

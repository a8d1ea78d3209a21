"""What a file may ask for: nothing that is not in it, and nothing that a few bytes blow up to gigabytes."""

import os
import stat
from pathlib import Path

from act3d.errors import InputError

NODES = 1_000_000  # of a scene, counted once for every time that one is used
CORNERS = 300_000_000  # of triangles after all copies are made
SPARE = 64 << 20  # bytes that anything may unpack to
RATIO = 200  # bytes that a packed byte may unpack to beyond that


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; devices, pipes and sockets would block or never end.

    Raises:
        InputError: Missing, not a regular file, or not readable; says which, without the path.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise InputError("is missing") from None
    except OSError as error:
        raise InputError(f"cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError("is not a regular file (a folder, pipe or device)")
    with open(handle, "rb") as file:
        return file.read()


def check_unpacked(unpacked: int, packed: int, what: str) -> None:
    """Refuse what would unpack to far more than its size explains."""
    if unpacked > SPARE + RATIO * packed:
        raise InputError(f"{what} would unpack from {packed} to {unpacked} bytes; more than {RATIO} times is refused")


class Budget:
    """Counts nodes and corners of a scene while it is walked, and ends the walk of one that never ends."""

    def __init__(self) -> None:
        self.nodes, self.corners = 0, 0

    def node(self) -> None:
        """Count a node."""
        self.nodes += 1
        if self.nodes > NODES:
            raise InputError(f"uses its nodes more than {NODES} times: a node holds others twice and again")

    def add(self, corners: int) -> None:
        """Count corners of triangles."""
        self.corners += corners
        if self.corners > CORNERS:
            raise InputError(f"becomes more than {CORNERS // 3} triangles when all its copies are made")

"""How shapes are read: what the rows of tables and indexes say of it, and what commands ask for."""

from collections.abc import Iterable
from typing import NamedTuple

_TURNED = "turned="  # of a stamp


class Reading(NamedTuple):
    """How shapes are read.

    Attributes:
        up: up axis of the files, x, y or z; "auto" = as in the files that the model was trained on.
        normalize: "unit_sphere", "none", or "auto" = as the model's training clouds.
        batch_size: shapes at once.
        workers: processes that read files beside the one that computes.
        beside: processes of this machine that read, for other commands or parts of this one too; they share its memory.
    """

    up: str = "auto"
    normalize: str = "auto"
    batch_size: int = 32
    workers: int = 0
    beside: int = 1

    @property
    def mark(self) -> str:
        """The end of a stamp: a shape read in another way is another shape."""
        asked = {"up": self.up, "normalize": self.normalize}
        return "".join(f" {name}={value}" for name, value in asked.items() if value != "auto")

    @classmethod
    def of(cls, stamps: Iterable[str]) -> "Reading":
        """How the shapes of these stamps were read, if all were read alike; else as the model says."""
        found = {tuple(with_turn(stamp, "").split(" ")[1:]) for stamp in stamps}
        asked = dict(word.split("=", 1) for word in found.pop()) if len(found) == 1 else {}
        return cls(asked.get("up", "auto"), asked.get("normalize", "auto"))


def turned(stamp: str) -> str:
    """Return the axis, such as "-z", that somebody has turned the shape of a stamp upright by; "" where nobody has."""
    return next((word.removeprefix(_TURNED) for word in stamp.split(" ") if word.startswith(_TURNED)), "")


def with_turn(stamp: str, axis: str) -> str:
    """Return the stamp of a shape that is turned upright by an axis of its file; "" = as it is read by default."""
    rest = [word for word in stamp.split(" ") if not word.startswith(_TURNED)]
    return " ".join([*rest, _TURNED + axis] if axis else rest)

"""How shapes are read: what the rows of tables and indexes say of it, and what commands ask for."""

from collections.abc import Iterable
from typing import NamedTuple


class Reading(NamedTuple):
    """How shapes are read.

    Attributes:
        up: up axis of the files, x, y or z; "auto" = as in the files that the model was trained on.
        normalize: "unit_sphere", "none", or "auto" = as the model's training clouds.
        batch_size: shapes at once.
        workers: processes that read files beside the one that computes.
    """

    up: str = "auto"
    normalize: str = "auto"
    batch_size: int = 32
    workers: int = 0

    @property
    def mark(self) -> str:
        """The end of a stamp: a shape read in another way is another shape."""
        asked = {"up": self.up, "normalize": self.normalize}
        return "".join(f" {name}={value}" for name, value in asked.items() if value != "auto")

    @classmethod
    def of(cls, stamps: Iterable[str]) -> "Reading":
        """How the shapes of these stamps were read, if all were read alike; else as the model says."""
        found = {tuple(stamp.split(" ")[1:]) for stamp in stamps}
        asked = dict(word.split("=", 1) for word in found.pop()) if len(found) == 1 else {}
        return cls(asked.get("up", "auto"), asked.get("normalize", "auto"))

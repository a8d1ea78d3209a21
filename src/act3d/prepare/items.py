"""What there is to prepare: one `Item` a model, one `Source` a collection."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import numpy as np

from act3d.files import unique_names
from act3d.readers.up_axis import SAID_UP

UNLABELED = "unlabeled"


@dataclass(frozen=True)
class Item:
    """One model.

    Attributes:
        name: Unique within its source.
        path: The file; an archive when `member` names a file inside it.
        cls: Class name, "" for none.
        split: "train", "test", ...
        member: Path inside the archive.
        rotation: Nine numbers, rows first, applied to the coordinates as read; None for none.
        extra: Further columns of the table (licence, family ...).
    """

    name: str
    path: Path
    cls: str = ""
    split: str = "train"
    member: str = ""
    rotation: tuple[float, ...] | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def state(self) -> list[object]:
        """The facts that determine this item's row, to notice when a file changed between two runs."""
        name, member, rotation, *file = self.decides()
        return [name, self.cls, self.split, member, rotation, self.extra, *file]

    def decides(self) -> list[object]:
        """Those of them that determine its cloud."""
        try:
            file = self.path.stat()
            state = [file.st_size, int(file.st_mtime)]
        except OSError:  # a dangling link: the reader will say so
            state = [-1, -1]
        rotation = None if self.rotation is None else list(self.rotation)
        return [self.name, self.member, rotation, *state]


@dataclass
class Source:
    """A collection: its items and what is declared about them.

    Attributes:
        kind: "folder", "kicad", "sweethome3d", "ldraw" or "objaverse"; decides the reader.
        name: Name of the dataset.
        items: The models, in a fixed order; those whose names look alike get numbers.
        classes: Class names, in the order of the labels.
        parts: Part vocabulary, empty for none.
        up: Up axis of the files that do not say it themselves.
        up_asked: `up` is true of all files, whatever they say.
        scale: Factor on the coordinates.
        unit: Unit of the scaled coordinates, "" if unknown.
        licence: One line.
        notes: Lines for the summary.
    """

    kind: str
    name: str
    items: list[Item]
    classes: list[str]
    parts: list[str] = field(default_factory=list)
    up: str = "y"
    scale: float = 1.0
    unit: str = ""
    licence: str = ""
    notes: list[str] = field(default_factory=list)
    up_asked: bool = False

    def __post_init__(self) -> None:
        names = unique_names(item.name for item in self.items)
        self.items = [replace(item, name=name) for item, name in zip(self.items, names, strict=True)]

    def formats(self) -> dict[str, str]:
        """`up` by suffix, for those it is true of: files that do not say their own axis, or all if it was asked for."""
        archives = self.kind == "sweethome3d"
        suffixes = sorted({PurePath(item.member if archives else item.path).suffix.lower() for item in self.items})
        return {suffix: self.up for suffix in suffixes if self.up_asked or suffix not in SAID_UP}


def licence_line(licence: str, items: Sequence[Item]) -> str:
    """Return the licence of a collection, of which a table says it, as far as the table knows these items."""
    known = sum(bool(item.extra.get("licence")) for item in items)
    if known == len(items):
        return licence
    others = "of models without one in the column licence, see where they come from"
    return f"{licence}; {others}" if known else others


def random_for(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one item: the same in every process and run."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little"))


def choose_test(names: Sequence[str], fraction: float, seed: int) -> set[str]:
    """The names that go to the test split: `fraction` of them, at least one of two or more, at most all but one.

    A name's random number depends on the name and the seed only, so new files change the split of few others.
    """
    if fraction <= 0 or len(names) < 2:
        return set()
    count = min(max(round(fraction * len(names)), 1), len(names) - 1)
    return set(sorted(names, key=lambda name: hashlib.sha256(f"{seed}:split:{name}".encode()).digest())[:count])

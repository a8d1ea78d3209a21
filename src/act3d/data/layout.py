"""A layout of a dataset: how its folder is recognised, opened and checked.

The layouts themselves are listed in `act3d.data.layouts`. No torch is imported here: processes that prepare rooms use
this file.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from act3d.errors import InputError, NoSplit

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset


class Wanted(NamedTuple):
    """The choice that is opened of a dataset; see `act3d.data.open_dataset`."""

    split: str | None = None
    points: int | None = None
    seed: int = 0
    normalize: str | None = None
    subset: str | None = None
    channels: tuple[str, ...] = ()


@dataclass
class Part:
    """One split or fold group: clouds, points per cloud, and clouds per class ("" = unlabelled)."""

    clouds: int
    points: int
    classes: dict[str, int] = field(default_factory=dict)


@dataclass
class Found:
    """One dataset in a folder.

    Attributes:
        dataset: its name. variant: which one, where there are several.
        fingerprint: written into every result from this data; None when too much is missing.
        parts: by split.
        problems: what is missing, cut off or wrong, one line each; empty = usable.
        notes: facts that are no problem.
        command: the command that takes this data, with `subset` as its --data.subset where there are several.
        unit: what is counted in `parts`.
    """

    dataset: str
    variant: str = ""
    fingerprint: str | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    subset: str = ""
    unit: str = "clouds"


@dataclass(frozen=True)
class Layout:
    """One layout of datasets in folders.

    Attributes:
        name: as `act3d check-data` prints it.
        find: returns the folder of the data, the given one or one below it; None if this is another layout.
        open: from the folder that was found; None where it holds no clouds with one label each.
        check: checks everything in the folder that was found.
        subsets: whether a subset can be chosen.
        instead: what to do where `open` is None.
    """

    name: str
    find: Callable[[Path], Path | None]
    open: "Callable[[Path, Wanted], CloudDataset] | None"
    check: Callable[[Path], list[Found]]
    subsets: bool = False
    instead: str = ""


def wanted_splits(layout: str, known: Iterable[str], split: str | None) -> list[str]:
    """Return the splits that `split` asks for: one, several joined by "+", or None for all.

    Raises:
        NoSplit: one that the layout does not have.
    """
    names = list(known)
    wanted = names if split is None else split.split("+")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise NoSplit(layout, unknown[0], names)
    return wanted


def count_classes(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Return how many labels (S,) there are of each class that occurs, by its name; "" = -1."""
    return {classes[i] if i >= 0 else "": n for i, n in sorted(Counter(labels.tolist()).items())}


def check_by_opening(found: Found, open_split: "Callable[[str | None], CloudDataset]", splits: Sequence[str]) -> Found:
    """Open a dataset split by split, as training would, read every cloud, and write into `found` what is there.

    Args:
        found: what is known of it.
        open_split: opens a split; None = all of it.
        splits: those to look at; empty = those that its clouds say they are of.
    """
    try:
        whole = open_split(None)
    except InputError as error:
        found.problems.append(str(error))
        return found
    found.fingerprint = whole.fingerprint
    for split in splits or dict.fromkeys(whole.split):
        try:
            clouds = open_split(split)
            found.parts[split] = Part(len(clouds), clouds.points, count_classes(clouds.labels, clouds.classes))
            found.problems += _not_finite(clouds)
        except InputError as error:
            found.problems.append(str(error))
    return found


def _not_finite(clouds: "CloudDataset") -> list[str]:
    bad = []
    for start in range(0, len(clouds), 64):
        rows = np.arange(start, min(start + 64, len(clouds)))
        points, _ = clouds.read(rows, 0)
        bad += [clouds.names[rows[i]] for i in np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))]
    return [f"{len(bad)} clouds hold coordinates that are not finite, the first {bad[0]}"] if bad else []

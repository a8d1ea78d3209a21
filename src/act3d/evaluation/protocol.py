"""How a result is arrived at: which clouds train, which are watched meanwhile, and when the test set is looked at.

- standard, last: all training clouds train; the test set is looked at once, with the last epoch's weights.
- standard, best: a stratified part is held out of training and watched; the epoch best on it is tested, once.
- legacy: the test set itself is watched every epoch and its best epoch is the result, as most of the field does.
"""

from typing import NamedTuple

import numpy as np

from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.views import Selection, holdout_rows
from act3d.errors import InputError
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig


class Trio(NamedTuple):
    """Clouds that train; clouds watched every epoch, or None; clouds that judge."""

    train: CloudDataset
    watch: CloudDataset | None
    test: CloudDataset


def open_protocol(
    data: DataConfig, protocol: Protocol, select: Select, seed: int, test_split: str = "test", labelled: bool = True
) -> Trio:
    """Open the clouds of a run with all their stored points; `data.points` are drawn from them later.

    Args:
        data: The dataset; `split` trains. With "best", `val_split` ("holdout" or a split's name) is watched.
        protocol, select: See above; `select` has no meaning under "legacy".
        seed: Of the held-out part.
        test_split: The split that judges.
        labelled: Leave out clouds without a class.

    Raises:
        InputError: nothing there, too few clouds, or fewer stored points than are to be drawn.
    """
    train, test = open_stored(data, data.split, labelled), open_stored(data, test_split, labelled)
    if len(train.classes) != len(test.classes):
        raise InputError(f"{data.root}: {data.split} and {test_split} do not have the same classes")
    if protocol == "legacy":
        return Trio(train, test, test)
    if select == "last":
        return Trio(train, None, test)
    if data.val_split == "none":
        raise InputError("data.val_split: none, but select=best has to watch something; use holdout, or select=last")
    if data.val_split != "holdout":
        return Trio(train, open_stored(data, data.val_split, labelled), test)
    held = holdout_rows(train.labels, data.val_fraction, seed)
    if not 0 < len(held) < len(train):
        raise InputError(f"data.val_split: {len(train)} clouds are too few to keep some out; use select=last")
    rest = np.setdiff1d(np.arange(len(train)), held)
    return Trio(Selection(train, rest), Selection(train, held), test)


def open_stored(data: DataConfig, split: str, labelled: bool = True) -> CloudDataset:
    """Open a split with all stored points, always in the same order: evaluation must not depend on a run's seed."""
    normalize = None if data.normalize == "auto" else data.normalize
    clouds = open_dataset(data.root, split, None, 0, normalize, data.subset or None)
    if clouds.points < data.points:
        raise InputError(f"data.points: {data.points} asked for; {clouds.name} stores {clouds.points} points a cloud")
    rows = np.flatnonzero(clouds.labels >= 0)
    if labelled and not len(rows):
        raise InputError(f"{data.root} has no class labels in split {split!r}")
    return Selection(clouds, rows) if labelled and len(rows) < len(clouds) else clouds


def protocol_name(protocol: Protocol, select: Select) -> str:
    """How results and tables call it: "standard (last)", "standard (best held out)", "legacy (best on test)"."""
    if protocol == "legacy":
        return "legacy (best on test)"
    return "standard (last)" if select == "last" else "standard (best held out)"

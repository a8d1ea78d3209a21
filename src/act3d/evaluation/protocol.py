"""How a result is arrived at: which clouds train, on which it is validated, and when the test set is used.

- standard, last: all training clouds train; the test set is used once, with the last epoch's weights.
- standard, best: a stratified part is held out of training; the epoch that validates best on it is tested, once.
- legacy: validation is on the test set itself and its best epoch is the result, as most of the field does.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from act3d.data.clouds import CloudDataset
from act3d.data.opening import open_for_model
from act3d.data.views import hold_out
from act3d.errors import InputError
from act3d.settings.data import CloudChoice, DataConfig
from act3d.settings.tasks import Protocol, Select


class Splits(NamedTuple):
    """Training clouds; validation clouds, or None; test clouds."""

    train: CloudDataset
    validation: CloudDataset | None
    test: CloudDataset


def open_protocol(
    data: DataConfig, protocol: Protocol, select: Select, seed: int, test_split: str = "test", labelled: bool = True
) -> Splits:
    """Open the clouds of a run with all their stored points; `data.points` are drawn from them later.

    Args:
        data: The dataset; `split` trains. With "best", `val_split` ("holdout" or a split's name) validates.
        protocol, select: See above; `select` has no meaning under "legacy".
        seed: Of the held-out part.
        test_split: The split that tests.
        labelled: Leave out clouds without a class.

    Raises:
        InputError: nothing there, too few clouds, or fewer stored points than are to be drawn.
    """
    beside = data.channels_beside
    return open_splits(
        lambda split, _: open_stored(data, split, labelled, beside), data, protocol, select, seed, test_split
    )


def open_splits(
    open_split: Callable[[str, int], CloudDataset],
    data: DataConfig,
    protocol: Protocol,
    select: Select,
    seed: int,
    test_split: str,
) -> Splits:
    """Open the clouds of a run by protocol; see `open_protocol`.

    Args:
        open_split: from (split, seed of the points drawn) to its clouds; only those that train are drawn by `seed`.
    """
    train, test = open_split(data.split, seed), open_split(test_split, 0)
    if train.classes != test.classes:
        raise InputError(f"{data.root}: {data.split} and {test_split} do not have the same classes")
    if protocol == "legacy":
        return Splits(train, test, test)
    if select == "last":
        return Splits(train, None, test)
    if data.val_split == "none":
        raise InputError("data.val_split: none, but select=best has to validate; use holdout, or select=last")
    if data.val_split != "holdout":
        return Splits(train, open_split(data.val_split, 0), test)
    rest, held = hold_out(train, data.val_fraction, seed, "select=last")
    return Splits(rest, held, test)


def open_stored(data: CloudChoice, split: str, labelled: bool = True, channels: Sequence[str] = ()) -> CloudDataset:
    """Open a split with all stored points, always in the same order: evaluation must not depend on a run's seed."""
    opened = open_for_model(
        {}, data.root, split, data.points, data.normalize, data.subset, all_points=True, labelled=labelled,
        channels=channels,
    )  # fmt: skip
    return opened.clouds


def protocol_name(protocol: Protocol, select: Select) -> str:
    """How results and tables call it: "standard (last)", "standard (best held out)", "legacy (best on test)"."""
    if protocol == "legacy":
        return "legacy (best on test)"
    return "standard (last)" if select == "last" else "standard (best held out)"


def protocol_of(validation_split: str) -> Protocol:
    """Return "legacy" when the best weights are picked by looking at a test set, as the field does, else "standard"."""
    return "legacy" if "test" in validation_split.split("+") else "standard"

"""Opening data for a model: treated as in its training, class names checked, every choice reported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from act3d.channels import missing_line
from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.views import Selection, Turned, WithChannels
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.files import folders_of, is_remote
from act3d.samples import SAMPLES


class Opened(NamedTuple):
    """A dataset as a model takes it.

    Attributes:
        clouds: the clouds.
        points: how many points of a cloud the model is to be given.
        notes: what was chosen for the user, one line each.
        warnings: what differs from training, one line each.
    """

    clouds: CloudDataset
    points: int
    notes: list[str]
    warnings: list[str]


class Source(NamedTuple):
    """Which data: its folder, a named part of it, and a note if the user did not name it."""

    root: str
    subset: str
    notes: list[str]


def open_for_model(
    meta: Mapping[str, Any],
    root: str = "",
    split: str | None = "test",
    points: int = 0,
    normalize: str = "auto",
    subset: str = "",
    up: str = "auto",
    usual_points: int = 0,
    all_points: bool = False,
    labelled: bool = False,
    seed: int = 0,
    channels: Sequence[str] | None = None,
) -> Opened:
    """Open a split of a dataset as a checkpoint's model was trained on its own; `meta` = {} for a fresh model.

    Args:
        meta: what the checkpoint says: `points`, `normalization`, `up`, `data`, `settings`.
        root: the dataset; empty = the one that the model was trained on.
        split: which clouds; None = all.
        points: points of a cloud; 0 = as in training.
        normalize: "unit_sphere", "none", or "auto" = as in training, else as the dataset declares.
        subset: a named part of the dataset; empty = all of it.
        up: the axis along which the clouds stand, x, y or z; "auto" = as the dataset declares.
        usual_points: points of a cloud if neither `points` nor the checkpoint says; 0 = all.
        all_points: give all stored points in the same order every time, for farthest points to be found among them;
            else a random choice of `points`.
        labelled: leave out clouds without a class.
        seed: of the random choice.
        channels: channels of points beside x, y and z, which the data must have; None = as in training, with a warning
            of those that the data does not have.

    Raises:
        ConfigError: no dataset is named, and the checkpoint knows of none.
        InputError: data that cannot be used: see `open_dataset`; too few points; no labels where they are needed.
    """
    source = choose_source(meta, root, subset)
    trained = meta.get("points")
    wanted = points or trained or usual_points
    how = meta.get("normalization") if normalize == "auto" else normalize
    given = None if all_points or not wanted else int(wanted)
    needed = tuple(meta.get("channels") or ()) if channels is None else tuple(channels)
    clouds = open_dataset(source.root, split, given, seed, how, source.subset or None, needed)
    missing = [name for name in needed if name not in clouds.channels]
    if missing and channels is not None:
        raise InputError(
            f"data.channels: {clouds.name} stores no {' and no '.join(missing)}; prepare it with --channels, "
            "or leave them out"
        )
    wanted = int(wanted or clouds.points)
    if clouds.points < wanted:
        raise InputError(f"data.points: {wanted} asked for; {clouds.name} stores {clouds.points} points a cloud")
    if labelled:
        clouds = _labelled(clouds, source.root, split)
    stands = str(clouds.meta.get("up") or "y") if up == "auto" else up
    upright = str(meta.get("up") or clouds.meta.get("up") or "y")
    clouds = clouds if stands == upright else Turned(clouds, stands, upright)
    warnings = _differences(meta, clouds, wanted)
    if missing:
        clouds, warnings = WithChannels(clouds, needed), [*warnings, missing_line(missing, clouds.name)]
    return Opened(clouds, wanted, source.notes, warnings)


def choose_source(meta: Mapping[str, Any], root: str, subset: str = "") -> Source:
    """Return the dataset that is meant: the one named, else the one that the checkpoint's model was trained on.

    Raises:
        ConfigError: neither is known, or the model's own data is no longer there.
    """
    if root:
        return Source(root, subset, [])
    settings = meta.get("settings") or {}
    data = settings.get("data") if isinstance(settings, Mapping) else None
    data = data if isinstance(data, Mapping) else {}
    own = str(data.get("root") or "")
    if not own:
        raise ConfigError("data.root: missing; the checkpoint does not say what its model was trained on")
    if len(folders_of(own)) > 1:
        raise ConfigError(f"data.root: missing; the model was trained on several datasets ({own}); name one")
    if own not in SAMPLES and not is_remote(own) and not Path(own).exists():
        raise ConfigError(f"data.root: missing; {own}, which the model was trained on, is not there")
    part = subset or str(data.get("subset") or "")
    named = f" (subset {part})" if part else ""
    return Source(own, part, [f"data: {own}{named}, which the model was trained on; --data.root names another"])


def check_class_names(known: Sequence[str], found: Sequence[str], dataset: str, what: str = "classes") -> None:
    """Check that a dataset's classes are those that a model knows, under the same names and in the same order.

    Raises:
        CheckpointError: they are not: what the model calls class 3 would count as something else.
    """
    known, found = list(map(str, known)), list(map(str, found))
    if known == found:
        return
    if sorted(known) == sorted(found):
        place = next(i for i, (a, b) in enumerate(zip(known, found, strict=True)) if a != b)
        raise CheckpointError(
            f"{dataset} has the model's {what} in another order: number {place} is {found[place]!r} there and "
            f"{known[place]!r} in the model"
        )
    parts = [f"the model knows {len(known)} {what}, {dataset} has {len(found)}"]
    for text, names in (("only in the model", known), ("only in the data", found)):
        other = set(found if names is known else known)
        alone = [name for name in names if name not in other]
        if alone:
            parts.append(f"{text}: {', '.join(alone[:4])}" + (" ..." if len(alone) > 4 else ""))
    raise CheckpointError(f"{'; '.join(parts)}; they are not the same")


def check_class_count(count: int, found: Sequence[str], dataset: str, what: str = "classes") -> None:
    """Check a dataset's classes for a model that does not know their names (a released file).

    Raises:
        CheckpointError: there are not as many.
    """
    if count != len(found):
        raise CheckpointError(
            f"the model knows {count} {what}, {dataset} has {len(found)} ({', '.join(map(str, found[:3]))} ...): "
            "they are not the same"
        )


def _labelled(clouds: CloudDataset, root: str, split: str | None) -> CloudDataset:
    rows = np.flatnonzero(clouds.labels >= 0)
    if not len(rows):
        raise InputError(f"{root} has no class labels in split {split!r}")
    return Selection(clouds, rows) if len(rows) < len(clouds) else clouds


def _differences(meta: Mapping[str, Any], clouds: CloudDataset, points: int) -> list[str]:
    """What differs from training, one line each."""
    found = []
    trained, normal, data = meta.get("points"), meta.get("normalization"), meta.get("data") or {}
    if trained and points != trained:
        found.append(f"{points} points a cloud; the model was trained with {trained}")
    if normal and clouds.normalization != normal:
        found.append(f"normalization {clouds.normalization!r}; the model was trained with {normal!r}")
    for known in (data, *data.get("datasets", ())):
        if known.get("name") == clouds.name and known.get("fingerprint") not in (None, clouds.fingerprint):
            found.append(
                f"{clouds.name} has fingerprint {clouds.fingerprint}; the model was trained on {known['fingerprint']}"
            )
    return found

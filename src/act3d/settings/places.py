"""Files and folders that settings name. Those that must exist are checked before anything slow is imported."""

import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from act3d.errors import Act3dError, InputError
from act3d.files import folders_of, has_index, is_remote
from act3d.known_models import local_weights, named_model
from act3d.remote import check_url
from act3d.samples import SAMPLES


class Checked(NamedTuple):
    """Marks a setting whose place is checked when a command starts; `check` raises if it cannot be used."""

    check: Callable[[str], Any]


def _check_dataset(root: str) -> None:
    if root in SAMPLES or Path(root).is_dir():
        return
    if folders_of(root) != [root]:
        raise InputError(f"{root} are several datasets, and this takes one (autoencode, pretrain and align take more)")
    if is_remote(root):
        check_url(root)
        return
    raise InputError(f"{root} is not a folder")


def _check_datasets(roots: str) -> None:
    found = folders_of(roots)
    for root in found:
        _check_dataset(root)
    twice = [root for root in found if found.count(root) > 1]
    if twice:
        raise InputError(f"{twice[0]} is named twice; --data.weights says how often its clouds come")


def names_shapes(source: str) -> bool:
    """Tell whether this is a shipped sample, a file or folder, a URL, or a pattern that some match."""
    return is_remote(source) or source in SAMPLES or Path(source).exists() or bool(glob.glob(source, recursive=True))


def _check_shapes(source: str) -> None:
    if is_remote(source):
        check_url(source)
    if names_shapes(source):
        return
    raise InputError(f"{source}: no such file, folder or pattern")


def _check_local(path: str) -> None:
    if is_remote(path):
        raise InputError(f"{path} is a URL; this takes a file or folder on this machine")


def _check_exists(path: str) -> None:
    _check_local(path)
    if not Path(path).exists():
        raise InputError(f"{path} does not exist")


def _check_index(place: str) -> None:
    if not is_remote(place):
        _check_exists(place)


def _check_weights(path: str) -> None:
    if named_model(path) is None:
        local_weights(path)


def _check_weights_or_index(path: str) -> None:
    if not has_index(path):
        _check_weights(path)


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _joined(value: Any) -> Any:
    """Several folders in a list as one text."""
    return ",".join(str(_as_text(item)) for item in value) if isinstance(value, list | tuple) else value


_Text = BeforeValidator(_as_text)

Place = Annotated[str, _Text, Checked(_check_local)]
"""A file or folder on this machine, or nothing: text, or a path of pathlib."""

PlaceOrUrl = Annotated[str, _Text]
"""A file or folder, a URL, or nothing."""

Weights = Annotated[str, _Text, Checked(_check_weights)]
"""A checkpoint, or nothing: a run folder, a weights file, hub:OWNER/NAME, or a name of the table of models."""

WeightsOrIndex = Annotated[str, _Text, Checked(_check_weights_or_index)]
"""A checkpoint, or the folder of an index."""

Dataset = Annotated[str, _Text, Checked(_check_dataset)]
"""A dataset's folder or URL, a shipped sample, or nothing."""

Datasets = Annotated[str, _Text, BeforeValidator(_joined), Checked(_check_datasets)]
"""A dataset's folder or URL, or several joined by commas, or a text file that names them."""

Shapes = Annotated[str, _Text, Checked(_check_shapes)]
"""A mesh or cloud, a folder or a pattern of them, a dataset's folder or URL, or "sample"."""

IndexPlace = Annotated[str, _Text, Checked(_check_index)]
"""The folder or URI of an index."""

Existing = Annotated[str, _Text, Checked(_check_exists)]
"""A file or folder that is read."""


def is_place(metadata: Iterable[Any]) -> bool:
    """Tell whether a setting with this metadata is a file or folder."""
    return _Text in metadata


def check_existing(key: str, value: str, metadata: list[Any], resumed: bool) -> None:
    """Check that what a setting names is there; a resumed run has its own weights.

    Raises:
        InputError, CheckpointError: names the key and what is not there.
    """
    for marker in metadata:
        if isinstance(marker, Checked) and value and not (resumed and marker.check is _check_weights):
            try:
                marker.check(value)
            except Act3dError as error:
                raise type(error)(f"{key}: {error}") from None

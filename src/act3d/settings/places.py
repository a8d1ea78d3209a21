"""Files and folders that settings name. Those that must exist are checked before anything slow is imported."""

import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from act3d.errors import Act3dError, CheckpointError, InputError
from act3d.files import folders_of, has_index, is_remote, weights_file
from act3d.known_models import missing_weights, named_model


class MustExist(NamedTuple):
    """Marks a setting whose file or folder must be there when a command starts; `check` raises if it is not."""

    check: Callable[[str], Any]


def _check_dataset(root: str) -> None:
    if root == "sample" or Path(root).is_dir():
        return
    if len(folders_of(root)) > 1:
        raise InputError(f"{root} are several datasets, and this takes one (autoencode, pretrain and align take more)")
    raise InputError(f"{root} is not a folder")


def _check_datasets(roots: str) -> None:
    found = folders_of(roots)
    for root in found:
        _check_dataset(root)
    twice = [root for root in found if found.count(root) > 1]
    if twice:
        raise InputError(f"{twice[0]} is named twice; --data.weights says how often its clouds come")


def names_shapes(source: str) -> bool:
    """Tell whether this is "sample", a file or folder, or a pattern that some match."""
    return source == "sample" or Path(source).exists() or bool(glob.glob(source, recursive=True))


def _check_shapes(source: str) -> None:
    if names_shapes(source):
        return
    raise InputError(f"{source}: no such file, folder or pattern")


def _check_exists(path: str) -> None:
    if not Path(path).exists():
        raise InputError(f"{path} does not exist")


def _check_index(place: str) -> None:
    if not is_remote(place):
        _check_exists(place)


def _check_weights(path: str) -> None:
    if named_model(path) is None:
        if not Path(path).exists() and Path(path).suffix != ".ckpt":
            raise CheckpointError(missing_weights(path))
        weights_file(path)


def _check_weights_or_index(path: str) -> None:
    if not has_index(path):
        _check_weights(path)


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _joined(value: Any) -> Any:
    """Several folders in a list as one text."""
    return ",".join(str(_as_text(item)) for item in value) if isinstance(value, list | tuple) else value


_Text = BeforeValidator(_as_text)

Place = Annotated[str, _Text]
"""A file or folder, or nothing: text, or a path of pathlib."""

Weights = Annotated[str, _Text, MustExist(_check_weights)]
"""A checkpoint, or nothing: a run folder, a weights file, hub:OWNER/NAME, or a name of the table of models."""

WeightsOrIndex = Annotated[str, _Text, MustExist(_check_weights_or_index)]
"""A checkpoint, or the folder of an index."""

Dataset = Annotated[str, _Text, MustExist(_check_dataset)]
"""A dataset's folder, "sample", or nothing."""

Datasets = Annotated[str, _Text, BeforeValidator(_joined), MustExist(_check_datasets)]
"""A dataset's folder, or several joined by commas."""

Shapes = Annotated[str, _Text, MustExist(_check_shapes)]
"""A mesh or cloud, a folder or a pattern of them, a dataset's folder, or "sample"."""

IndexPlace = Annotated[str, _Text, MustExist(_check_index)]
"""The folder or URI of an index."""

Existing = Annotated[str, _Text, MustExist(_check_exists)]
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
        if isinstance(marker, MustExist) and value and not (resumed and marker.check is _check_weights):
            try:
                marker.check(value)
            except Act3dError as error:
                raise type(error)(f"{key}: {error}") from None

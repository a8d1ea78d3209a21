"""Checkpoints of a difference: the tensors of a model that its base does not have, and where the base is.

Few trained weights make a small file: low-rank updates, adapters or biases, the class token and the head. The header of
such a file has one more entry, `base`: its name and the digest of its encoder, so that no other encoder is taken.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from act3d.checkpoints.native import State, digest_of, read_header, stored_state
from act3d.checkpoints.native import save as save_native
from act3d.errors import CheckpointError
from act3d.known_models import named_model
from act3d.models.encoder import PointEncoder
from act3d.models.few_weights import merged_state
from act3d.native_header import written_by_act3d

Load = Callable[[str | Path], Any]  # of a checkpoint, to what has `model`
_ENCODER = "encoder."


def save_difference(
    model: Any, path: str | Path, meta: dict[str, Any] | None, base: str | Path, load: Load
) -> tuple[Path, int]:
    """Write what differs between a model and the encoder of its base, bit by bit.

    Args:
        model: a classifier, segmenter or another model with a point encoder.
        path: file to write; replaced if it exists.
        meta: see `act3d.checkpoints.save`.
        base: a checkpoint with a point encoder of the same size: a file, run folder or name.
        load: reads the base.

    Returns:
        The path, and how many numbers are in the file.

    Raises:
        CheckpointError: the base has no point encoder, or one of which nothing is in the model.
    """
    known = _encoder_state(base, load)
    state = stored_state(model)
    own = {k: v for k, v in state.items() if not _same(v, known.get(k))}
    if not any(value.ndim > 1 for name, value in state.items() if name not in own):  # zeros and ones are alike anyway
        raise CheckpointError(f"{base}: the model has no weights in common with it, so there is nothing to leave out")
    name = str(base) if named_model(str(base)) is not None else str(Path(base).resolve())
    header = {"name": name, "digest": digest_of({}, known)}
    return save_native(model, path, meta, own, {"base": header}), sum(value.numel() for value in own.values())


def base_state(path: Path, base: str | Path | None, load: Load) -> State:
    """The tensors that a checkpoint of a difference leaves to its base, by the model's names; none for whole ones.

    Args:
        path: a native checkpoint.
        base: where the base is, instead of where the file says.
        load: reads the base.

    Raises:
        CheckpointError: the base is missing, a difference itself, or not the encoder that the file was made with.
    """
    about = read_header(path).get("base")
    if about is None:
        if base is not None:
            raise CheckpointError(f"{path} is whole; it takes no base")
        return {}
    if not isinstance(about, dict) or not all(isinstance(about.get(key), str) for key in ("name", "digest")):
        raise CheckpointError(f"{path}: damaged: its base is not named")
    place = str(base) if base is not None else _found(about["name"], path)
    known = _encoder_state(place, load, path)
    if digest_of({}, known) != about["digest"]:
        raise CheckpointError(f"{path}: {place} is not its base: another encoder than {about['name']} was")
    return known


def _found(name: str, path: Path) -> str:
    """Where the base is: as it was named, or beside the difference under the name of its last part."""
    beside = path.parent / Path(name).name
    if named_model(name) is not None or Path(name).exists() or not beside.exists():
        return name
    return str(beside)


def _encoder_state(place: str | Path, load: Load, path: Path | None = None) -> State:
    """The base's encoder under the model's names."""
    file = Path(place)
    if file.is_file() and written_by_act3d(file) and "base" in read_header(file):
        raise CheckpointError(f"{place}: a difference cannot be a base")
    try:
        encoder = getattr(load(place).model, "encoder", None)
    except CheckpointError as error:
        raise error if path is None else CheckpointError(f"{path}: its base cannot be had: {error}") from error
    if not isinstance(encoder, PointEncoder):
        raise CheckpointError(f"{place}: has no point encoder, so it is no base")
    return {f"{_ENCODER}{k}": v.detach().cpu().contiguous() for k, v in merged_state(encoder).items()}


def _same(value: torch.Tensor, known: torch.Tensor | None) -> bool:
    return known is not None and value.dtype == known.dtype and torch.equal(value.cpu(), known)

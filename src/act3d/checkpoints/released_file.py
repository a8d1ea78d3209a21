"""Reading an untrusted file of torch.save: tensors by name; nothing in it is run."""

import os
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from act3d.errors import CheckpointError
from act3d.native_header import first_line

State = dict[str, torch.Tensor]

# Trainers save np.float64 among the metrics beside the weights. Nothing of NumPy is needed, so nothing of it is made.
_NUMPY = ("dtype", "ndarray", "float64", "float32", "int64", "bool", "bool_")
_NUMPY_FUNCTIONS = ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
_IGNORED = (
    *(f"numpy.{name}" for name in _NUMPY),
    *(f"numpy.{core}.{name}" for core in ("core", "_core") for name in _NUMPY_FUNCTIONS),
    "_codecs.encode",
)

# What trainers put in front of every name.
_PREFIXES = ("module.", "model.", "base_model.", "_orig_mod.", "net.")
WRAPPERS = ("base_model", "model_state_dict", "state_dict", "model")
_SLACK = 1 << 20


class _Nothing:
    """Stands for a NumPy scalar or array in a file of weights: takes every argument and keeps none."""

    def __init__(self, *parts: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_released(path: str | Path) -> State:
    """Tensors of a file that act3d did not write, by name, without the wrapper and the prefix of all names.

    Raises:
        CheckpointError: Not a file, truncated, holds more than tensors, plain containers and NumPy's numbers, unpacks
            to far more than its own size, or has no weights.
    """
    path = Path(path)
    if path.is_file() and _is_safetensors(path):
        return _without_prefix(_read_safetensors(path))
    try:
        _refuse_bomb(path)
        with _without_numpy():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except Exception as error:  # a damaged file can fail anywhere inside the unpickler
        if "weights_only" in str(error).lower() or "Unsupported" in str(error):
            reason = "refused, it is not a plain file of tensors (torch.load, weights_only)"
        else:
            reason = "cannot be read; truncated, or not a PyTorch file"
        raise CheckpointError(f"{path}: {reason}") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds {type(content).__name__}, not a dict of weights")
    state = {str(k).removeprefix("module."): _plain(v, k, path) for k, v in content.items() if torch.is_tensor(v)}
    if not state:
        raise CheckpointError(f"{path}: holds no weights under 'base_model' or 'model_state_dict'")
    # Many names for one stretch of the file would make a small file fill the memory of the model built from it.
    if sum(t.numel() * t.element_size() for t in state.values()) > 4 * os.path.getsize(path) + _SLACK:
        raise CheckpointError(f"{path}: refused, its tensors claim far more bytes than the file holds")
    return _without_prefix(state)


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:9] == b"{"  # 8 bytes of length, then JSON


def _read_safetensors(path: Path) -> State:
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be read as a safetensors file ({first_line(error)})") from error
    if not state:
        raise CheckpointError(f"{path}: holds no weights")
    return {name: _plain(tensor, name, path) for name, tensor in state.items()}


def _without_prefix(state: State) -> State:
    """The tensors without what stands in front of every name."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def _without_numpy() -> AbstractContextManager[Any]:
    """Let torch's unpickler put nothing where a file holds NumPy's scalars and arrays (torch 2.6 and newer)."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        return nullcontext()
    return torch.serialization.safe_globals([(_Nothing, name) for name in _IGNORED])


def _refuse_bomb(path: Path) -> None:
    """Refuse an archive that is small only because it is packed; torch.save never packs."""
    if not path.is_file():
        raise FileNotFoundError(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > 4 * path.stat().st_size + _SLACK:
                raise CheckpointError(f"{path}: refused, it unpacks to far more than its own size")


def _plain(tensor: torch.Tensor, name: Any, path: Path) -> torch.Tensor:
    """A tensor that models can hold: dense, on the CPU, with memory of its own for every value."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise CheckpointError(f"{path}: {name!r} is no plain tensor (it is {tensor.layout} on {tensor.device})")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise CheckpointError(f"{path}: {name!r} claims more values than it holds")
    if tensor.is_complex():
        raise CheckpointError(f"{path}: {name!r} holds complex numbers")
    return tensor.detach()

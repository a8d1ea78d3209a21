"""act3d's own checkpoint: one safetensors file with its config and facts about its data.

The header's metadata hold one entry, `act3d`, a JSON object: `format`, `kind` and `config` (what `models.build` takes),
`act3d` (the version that wrote it) and `meta`, facts beside the weights that inference and readers need:

- how a cloud must be treated: `points` (a cloud), `normalization`, `source_up`, `up`, `scale`;
- what outputs mean: `classes`, `parts`, `class_parts`;
- where it comes from: `command`, `settings`, `data` {name, fingerprint}, `protocol`, `licence`, `seed`, `source`.

Frozen backbones that a package or a public model provides are left out, and loaded from there.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from act3d.checkpoints.facts import check_facts
from act3d.errors import Act3dError, CheckpointError
from act3d.files import atomic_path
from act3d.models import build
from act3d.models.teachers import Backbone
from act3d.native_header import FORMAT, first_line, read_header
from act3d.version import VERSION

State = dict[str, torch.Tensor]

MOST_PATCHES, MOST_CORNERS = 1 << 16, 1 << 20  # of a cloud, and points in all of them: no tensor tells how many


def recoverable_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the parameters that need not be stored: frozen backbones that can be had again from their source."""
    return tuple(
        f"{name}." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, Backbone) and module.source is not None
    )


def stored_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's state without frozen backbones that can be had again from their source."""
    prefixes = recoverable_prefixes(model)
    return {k: v for k, v in model.state_dict().items() if not (prefixes and k.startswith(prefixes))}


def load_stored_state(model: nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    """Load what `stored_state` gave. Anything missing, left over or of another shape is fatal.

    Raises:
        CheckpointError: Names the first few parameters that do not fit, and how many there are.
    """
    state = _as_now(state)
    _fit(stored_state(model), state, where)
    model.load_state_dict(state, strict=False)


def _as_now(state: State) -> State:
    """A state with the learnt temperature of earlier versions, a scalar, in its shape of now: (1,)."""
    return {k: v.reshape(1) if k.endswith("contrast.log_scale") and not v.ndim else v for k, v in state.items()}


def _as_wanted(model: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors in the model's precision, to be taken over as they are.

    Copies: what was read is a view of the file, which may be replaced, and whose alignment changes the last digit.
    """
    wanted = model.state_dict()
    return {name: value.to(wanted[name].dtype, copy=True) for name, value in state.items()}


def _fit(wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], where: str) -> None:
    """Compare names and shapes; see `load_stored_state`."""
    missing = [k for k in wanted if k not in state]
    extra = [k for k in state if k not in wanted]
    shapes = [k for k, v in wanted.items() if k in state and state[k].shape != v.shape]
    for what, names in (("missing", missing), ("not part of the model", extra), ("of another shape", shapes)):
        if names:
            shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            raise CheckpointError(f"{where}: {len(names)} parameters {what}: {shown}")


def save(
    model: nn.Module,
    path: str | Path,
    meta: dict[str, Any] | None = None,
    state: State | None = None,
    about: dict[str, Any] | None = None,
) -> Path:
    """Write a model with its config into one safetensors file, whole or not at all.

    Args:
        model: A model of act3d: has `kind` and `config`.
        path: File to write; replaced if it exists.
        meta: JSON-able facts to keep beside the weights: class names, normalization, points, data, licence ...;
            `missing` if parameters were never loaded and hold random numbers.
        state: The tensors to write; by default all that `stored_state` gives.
        about: Further entries of the header.

    Returns:
        The path.
    """
    header = {
        "format": FORMAT,
        "kind": model.kind,
        "config": model.config,
        "meta": dict(meta or {}),
        "act3d": VERSION,
        **(about or {}),
    }
    state = {k: v.detach().cpu().contiguous() for k, v in (stored_state(model) if state is None else state).items()}
    header = json.loads(json.dumps(header))  # as a reader will see it
    header["digest"] = digest_of(header, state)
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"act3d": json.dumps(header)})
    return Path(path)


def digest_of(header: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> str:
    """sha256 over a header (without its own digest) and its tensors: names, types, shapes and values."""
    digest = hashlib.sha256(json.dumps({k: v for k, v in header.items() if k != "digest"}, sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def load_native(path: str | Path, base: Mapping[str, torch.Tensor] | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model that a native checkpoint describes and fill it: on the CPU, in eval mode; and its meta.

    Args:
        path: The file.
        base: Tensors by the model's names that the file leaves out; those in the file come first.
    """
    header = read_header(path)
    try:
        with safe_open(Path(path), framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be read as a safetensors file ({first_line(error)})") from error
    stored = state
    state = {**(base or {}), **_as_now(stored)}
    model = _built(header, state, path)
    wanted = stored_state(model)
    if base:  # it may have what this model has not: a class token, a decoder
        state = {name: value for name, value in state.items() if name in wanted or name in stored}
    _fit(wanted, state, str(path))
    if "digest" in header and header["digest"] != digest_of(header, stored):
        raise CheckpointError(f"{path}: damaged: its contents are not what was written (another digest)")
    model.load_state_dict(_as_wanted(model, state), strict=False, assign=True)
    return model.eval(), check_facts(header.get("meta") or {}, path)


def _built(header: dict[str, Any], state: dict[str, torch.Tensor], path: Path | str) -> nn.Module:
    """Build the model of a header without memory, after a check that the file can fill it.

    A header is only text: it can ask for a model larger than any memory. So a teacher that comes from somewhere else
    is fetched only if the file holds what the other shapes promise. No random weights are drawn: all is replaced.
    """
    kind, config = header.get("kind"), header.get("config")
    try:
        if not isinstance(kind, str) or not isinstance(config, dict):
            raise ValueError("no kind or no config")
        _refuse_excess(config, len(state))
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in build(kind, _without_sources(config)).state_dict().items()}
        _compare({k: v for k, v in shapes.items() if k in state}, state, str(path))
        with torch.device("meta"):
            return build(kind, config)
    except Act3dError as error:
        raise error if str(path) in str(error) else type(error)(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: its config makes no model ({first_line(error)})") from error


def _without_sources(config: dict[str, Any]) -> dict[str, Any]:
    """The config without teachers that would have to be fetched."""
    teacher = config.get("teacher")
    if not teacher:
        return config
    return {**config, "teacher": _without_sources(teacher) if isinstance(teacher, dict) else None}


def _refuse_excess(config: Any, tensors: int) -> None:
    """Refuse depths that the file's number of tensors cannot fill, and numbers beyond any model."""
    if isinstance(config, dict) and {"patches", "patch_size"} <= config.keys():
        patches, size = config["patches"], config["patch_size"]
        if isinstance(patches, int) and isinstance(size, int) and patches * size > MOST_CORNERS:
            raise ValueError(f"{patches} patches of {size} points are more than the file can fill")
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        most = tensors if "depth" in str(name) else MOST_PATCHES if name in ("patches", "patch_size") else 1 << 20
        if isinstance(value, dict | list):
            _refuse_excess(value, tensors)
        elif isinstance(value, int) and abs(value) > most:
            raise ValueError(f"{name} = {value} is more than the file can fill")


def _compare(shapes: dict[str, torch.Size], state: dict[str, torch.Tensor], where: str) -> None:
    wrong = [name for name, shape in shapes.items() if state[name].shape != shape]
    if wrong:
        raise CheckpointError(f"{where}: {len(wrong)} parameters of another shape than its config says: {wrong[0]}")

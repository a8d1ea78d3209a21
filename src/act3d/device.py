"""Choosing the device to compute on: one function for every command."""

from typing import TYPE_CHECKING

from act3d.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: "str | torch.device" = "auto") -> "torch.device":
    """Return the device that a name stands for, after trying it.

    Args:
        name: `cpu`, `cuda`, `cuda:0` ..., or `auto`: CUDA where there is one, else the CPU.

    Raises:
        InputError: No such device, or it cannot be used on this machine.
    """
    import torch

    if str(name) == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["not there"])[0]
        raise InputError(f"device: {str(name)!r} cannot be used: {reason}") from error
    return device

"""Starting a compiled kernel, and going on without it where it cannot run."""

import warnings
from collections.abc import Callable
from typing import Any

import torch

_FAILED: set[str] = set()  # devices on which a kernel could not be compiled or started


def has_failed(device: torch.device) -> bool:
    """Whether a kernel has failed on this device before."""
    return str(device) in _FAILED


def attempt(device: torch.device, kernel: Callable[..., Any], *arguments: Any) -> Any:
    """Result of `kernel(*arguments)`; None, after one warning a device, if it cannot be compiled or started."""
    try:
        return kernel(*arguments)
    except torch.cuda.OutOfMemoryError:  # the plain form would need more
        raise
    except Exception as error:  # no C compiler, an old GPU, too few registers: Triton has many kinds of errors
        if not has_failed(device):
            _FAILED.add(str(device))
            reason = (str(error).strip().splitlines() or [""])[0]
            warnings.warn(
                f"a Triton kernel does not run on {device} ({type(error).__name__}: {reason}); "
                "PyTorch does the work instead, more slowly",
                RuntimeWarning,
                stacklevel=2,
            )
        return None

"""Keeping single precision where half precision, or autocast, would lose what decides."""

import torch


def raise_half(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision as float32, anything else as it is: 8 or 11 bits cannot tell neighbors apart."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def without_autocast(tensor: torch.Tensor) -> torch.autocast:
    """A context in which matrix products keep the precision of their factors although autocast is on."""
    return torch.autocast(tensor.device.type, enabled=False)

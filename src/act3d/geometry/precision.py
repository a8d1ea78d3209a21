"""Keeping single precision where half precision, or autocast, would decide wrongly."""

import torch


def raise_half(tensor: torch.Tensor) -> torch.Tensor:
    """float32 or float64 as it is, half precision as float32: in 8 or 11 bits neighbours cannot be told apart."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def without_autocast(tensor: torch.Tensor) -> torch.autocast:
    """A context in which matrix products keep the precision of their factors, whatever autocast asks for outside."""
    return torch.autocast(tensor.device.type, enabled=False)

"""Gathering rows of a batch by index."""

import torch


def gather(values: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Rows of `values` at `indices`, each cloud by itself.

    Args:
        values: Tensor with shape (B, N, C).
        indices: Integer Tensor with shape (B, ...), each entry in [0, N).

    Returns:
        Tensor with shape (B, ..., C).
    """
    batch, rows, width = values.shape
    offsets = torch.arange(batch, device=values.device) * rows
    flat = indices + offsets.view(-1, *[1] * (indices.ndim - 1))
    # One index_select over all rows of the batch: no expanded index of shape (B, ..., C).
    return values.reshape(batch * rows, width).index_select(0, flat.reshape(-1)).view(*indices.shape, width)

"""Masks of patches: bool Tensors (B, G), True = hidden from the student, the same number in every cloud."""

import torch

from act3d.errors import InputError
from act3d.geometry import gather


def hidden_count(patches: int, ratio: float) -> int:
    """Number of hidden patches at a mask ratio: int(ratio * G), 0 to G - 1.

    Raises:
        InputError: A ratio below 0, or of 1 or more.
    """
    if not 0 <= ratio < 1:
        raise InputError(f"mask ratio = {ratio}; allowed is 0 up to, not including, 1")
    return int(ratio * patches)


def random_mask(batch: int, patches: int, hidden: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Random mask: `hidden` patches of each cloud.

    Returns:
        bool Tensor with shape (batch, patches), exactly `hidden` True in each row.
    """
    _check(patches, hidden)
    ranks = torch.rand(batch, patches, device=device).argsort(dim=1)  # a random permutation of each row
    return ranks < hidden


def block_mask(centers: torch.Tensor, hidden: int) -> torch.Tensor:
    """Block mask (Point-BERT, Yu et al., 2022): the `hidden` patches nearest to a random one, which is one of them.

    Args:
        centers: Tensor with shape (B, G, 3).
        hidden: Patches to hide, 0 to G.

    Returns:
        bool Tensor with shape (B, G), exactly `hidden` True in each row.
    """
    batch, patches, _ = centers.shape
    _check(patches, hidden)
    seeds = torch.randint(patches, (batch, 1), device=centers.device)
    distance = (centers - gather(centers, seeds)).square().sum(2)
    mask = torch.zeros(batch, patches, dtype=torch.bool, device=centers.device)
    return mask.scatter_(1, distance.argsort(dim=1, stable=True)[:, :hidden], True)


def split(mask: torch.Tensor, hidden: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the visible and of the hidden patches, each in ascending order.

    Args:
        mask: bool Tensor with shape (B, G) with exactly `hidden` True in each row.
        hidden: That number; known beforehand, so that shapes stay static and the host never waits for the device.

    Returns:
        int64 Tensors with shapes (B, G - hidden) and (B, hidden).
    """
    order = mask.to(torch.int8).argsort(dim=1, stable=True)
    return order[:, : mask.shape[1] - hidden], order[:, mask.shape[1] - hidden :]


def count_hidden(mask: torch.Tensor, centers: torch.Tensor) -> int:
    """Number of hidden patches of a mask, which must be the same in every row.

    It reads the values of the mask, so on a GPU the host waits for the device: not for training steps.

    Args:
        mask: bool Tensor with shape (B, G).
        centers: Tensor with shape (B, G, 3), the centers of the patches it is for.

    Raises:
        InputError: Not a bool (B, G) mask, rows that differ, or nothing left visible.
    """
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise InputError(f"mask has shape {tuple(mask.shape)} and dtype {mask.dtype}; expected bool (B, G)")
    if mask.shape != centers.shape[:2]:
        raise InputError(f"mask {tuple(mask.shape)} does not fit patches {tuple(centers.shape[:2])}")
    counts = mask.sum(dim=1)
    first = int(counts[0])
    if not bool((counts == first).all()):
        raise InputError("mask hides a different number of patches in different clouds; it must be the same in all")
    if first == mask.shape[1]:
        raise InputError(f"mask hides all {first} patches; at least one must stay visible")
    return first


def _check(patches: int, hidden: int) -> None:
    if not 0 <= hidden <= patches:
        raise InputError(f"hidden = {hidden} patches; allowed are 0 to {patches}")

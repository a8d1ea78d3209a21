"""Which patches the student does not see: a bool Tensor (B, G), True = hidden, as many in every cloud."""

import torch

from act3d.errors import InputError
from act3d.geometry import gather


def hidden_count(patches: int, ratio: float) -> int:
    """Hidden patches of `patches` at a ratio: int(ratio * G), 0 to G - 1."""
    if not 0 <= ratio < 1:
        raise InputError(f"mask ratio = {ratio}; allowed is 0 up to, not including, 1")
    return int(ratio * patches)


def random_mask(batch: int, patches: int, hidden: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Hide `hidden` patches of each cloud at random.

    Returns:
        bool Tensor with shape (batch, patches), exactly `hidden` True in each row.
    """
    _check(patches, hidden)
    ranks = torch.rand(batch, patches, device=device).argsort(dim=1)  # a random permutation of each row
    return ranks < hidden


def block_mask(centers: torch.Tensor, hidden: int) -> torch.Tensor:
    """Hide one block of each cloud: the `hidden` patches nearest to a patch picked at random (it is one of them).

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
    """Indices of the visible and the hidden patches, each in ascending order, by a sort instead of a boolean index.

    Args:
        mask: bool Tensor with shape (B, G) with exactly `hidden` True in each row.
        hidden: That count; known beforehand, so that shapes stay static and the device never waits for the host.

    Returns:
        int64 Tensors with shapes (B, G - hidden) and (B, hidden).
    """
    order = mask.to(torch.int8).argsort(dim=1, stable=True)
    return order[:, : mask.shape[1] - hidden], order[:, mask.shape[1] - hidden :]


def count_hidden(mask: torch.Tensor, centers: torch.Tensor) -> int:
    """The number of hidden patches, the same in every row (this one looks at the values: not for inner loops).

    Args:
        mask: bool Tensor with shape (B, G).
        centers: Tensor with shape (B, G, 3), the patches that it is for.

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

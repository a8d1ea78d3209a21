"""Losses between the student's predictions and the teacher's features, and between shapes and texts: small Modules."""

from torch import nn

from act3d.losses.contrastive import MeanPositiveContrast, MultiPositiveContrast, same_meaning
from act3d.losses.distillation import BarlowTwinsLoss, CosineLoss, L2Loss, NTXentLoss, SmoothL1Loss

LOSSES: dict[str, type[nn.Module]] = {
    "cosine": CosineLoss,
    "l2": L2Loss,
    "smooth_l1": SmoothL1Loss,
    "ntxent": NTXentLoss,
    "barlow": BarlowTwinsLoss,
}


def build_loss(kind: str) -> nn.Module:
    """The loss of a name: predicted (B, H, D), target (B, H, D) -> scalar.

    Raises:
        ValueError: Unknown name.
    """
    if kind not in LOSSES:
        raise ValueError(f"unknown loss {kind!r}; allowed are {', '.join(LOSSES)}")
    return LOSSES[kind]()


__all__ = [
    "LOSSES",
    "BarlowTwinsLoss",
    "CosineLoss",
    "L2Loss",
    "MeanPositiveContrast",
    "MultiPositiveContrast",
    "NTXentLoss",
    "SmoothL1Loss",
    "build_loss",
    "same_meaning",
]

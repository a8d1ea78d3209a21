"""Distillation losses, cloud by cloud. Predicted and target features (B, H, D) -> scalar."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - cosine, mean over patches."""
    losses = [(1 - F.cosine_similarity(p, t, dim=-1)).mean() for p, t in zip(predicted, target, strict=True)]
    return torch.stack(losses).mean()


def l2(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference."""
    return F.mse_loss(predicted, target)


def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Quadratic below a difference of 1, linear above."""
    return F.smooth_l1_loss(predicted, target)


def ntxent(predicted: Tensor, target: Tensor, temperature: float = 0.07, divisor: int | None = None) -> Tensor:
    """Normalised temperature-scaled cross entropy among the patches of a cloud, divided by their number (SimCLR)."""
    losses = []
    for p, t in zip(predicted, target, strict=True):
        count = len(p)
        both = torch.cat([F.normalize(p, dim=1), F.normalize(t, dim=1)])
        logits = both @ both.t() / temperature
        logits = logits.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=p.device), float("-inf"))
        partner = (torch.arange(2 * count, device=p.device) + count) % (2 * count)
        losses.append(F.cross_entropy(logits, partner) / (divisor or count))
    return torch.stack(losses).mean()


def barlow(predicted: Tensor, target: Tensor, weight: float = 5e-3, divisor: int | None = None) -> Tensor:
    """Cross-correlation of the features over the patches of a cloud towards the identity (Barlow Twins)."""
    losses = []
    for p, t in zip(predicted, target, strict=True):
        count, width = p.shape
        p = (p - p.mean(dim=0)) / p.std(dim=0)
        t = (t - t.mean(dim=0)) / t.std(dim=0)
        identity = torch.eye(width, dtype=p.dtype, device=p.device)
        square = (p.t() @ t / count - identity) ** 2
        square = torch.where(identity.bool(), square, weight * square)
        losses.append(square.sum() / (divisor or count))
    return torch.stack(losses).mean()


LOSSES = {"cosine": cosine, "l2": l2, "smooth_l1": smooth_l1, "ntxent": ntxent, "barlow": barlow}

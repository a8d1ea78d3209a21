"""Distillation losses: predicted (B, H, D) and target (B, H, D) features -> scalar (ACT, section 3.3 and table 9)."""

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry.precision import raise_half, without_autocast


def _checked(predicted: torch.Tensor, target: torch.Tensor, at_least: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in at least float32: the difference of a student close to its teacher is below bfloat16's resolution.

    Raises:
        ValueError: Shapes that differ or are not (B, H, D), or fewer than `at_least` patches.
    """
    if predicted.ndim != 3 or predicted.shape != target.shape:
        raise ValueError(f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} must both be (B, H, D)")
    if predicted.shape[1] < at_least:
        raise ValueError(f"predicted {tuple(predicted.shape)}: this loss needs at least {at_least} patches a cloud")
    return raise_half(predicted), raise_half(target)


class CosineLoss(nn.Module):
    """1 - cosine similarity of predicted and target features, mean over patches: the released loss of ACT."""

    def forward(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(B, H, D), (B, H, D) -> scalar, 0 to 2."""
        predicted, target = _checked(predicted, target)
        return 1 - F.cosine_similarity(predicted, target, dim=2).mean()


class L2Loss(nn.Module):
    """Mean squared difference of predicted and target features."""

    def forward(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(B, H, D), (B, H, D) -> scalar."""
        predicted, target = _checked(predicted, target)
        return F.mse_loss(predicted, target)


class SmoothL1Loss(nn.Module):
    """Mean absolute difference of predicted and target features, quadratic below 1 (Huber, 1964)."""

    def forward(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(B, H, D), (B, H, D) -> scalar."""
        predicted, target = _checked(predicted, target)
        return F.smooth_l1_loss(predicted, target)


class NTXentLoss(nn.Module):
    """Normalized temperature-scaled cross entropy (SimCLR, Chen et al., 2020, eq. 1) among the patches of a cloud.

    Prediction and target of a patch are a positive pair; the other 2H - 2 features of the cloud are negatives. Divided
    by H, as in the release (which divides by 1 when nothing is hidden).

    Args:
        temperature: Similarities are divided by it.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(B, H, D), (B, H, D) -> scalar."""
        predicted, target = _checked(predicted, target)
        batch, count, _ = predicted.shape
        both = torch.cat([F.normalize(predicted, dim=2), F.normalize(target, dim=2)], dim=1)  # (B, 2H, D)
        with without_autocast(both):
            logits = both @ both.transpose(1, 2) / self.temperature
        same = torch.eye(2 * count, dtype=torch.bool, device=both.device)
        logits = logits.masked_fill(same, -torch.inf)
        partner = (torch.arange(2 * count, device=both.device) + count) % (2 * count)
        return F.cross_entropy(logits.flatten(0, 1), partner.repeat(batch)) / count


class BarlowTwinsLoss(nn.Module):
    """Barlow Twins (Zbontar et al., 2021, eq. 1): cross-correlation of features over patches against the identity.

    Divided by H, as in the release.

    Args:
        off_diagonal: Weight of the entries beside the diagonal.
    """

    def __init__(self, off_diagonal: float = 5e-3) -> None:
        super().__init__()
        self.off_diagonal = off_diagonal

    def forward(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(B, H, D), (B, H, D) with H >= 2 -> scalar."""
        predicted, target = _checked(predicted, target, at_least=2)
        count = predicted.shape[1]
        with without_autocast(predicted):
            correlation = _standardise(predicted).transpose(1, 2) @ _standardise(target) / count  # (B, D, D)
        diagonal = correlation.diagonal(dim1=1, dim2=2)
        off = correlation.square().sum((1, 2)) - diagonal.square().sum(1)
        return ((diagonal - 1).square().sum(1) + self.off_diagonal * off).mean() / count


def _standardise(features: torch.Tensor) -> torch.Tensor:
    """Features (B, H, D) with mean 0 and standard deviation 1 over patches; a constant one becomes 0."""
    std, mean = torch.std_mean(features, dim=1, keepdim=True)
    return (features - mean) / std.clamp_min(1e-6)

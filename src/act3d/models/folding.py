"""The decoder that unfolds a patch's feature into points."""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.kernels.batch_norm import folds, remember, running, scale_shift
from act3d.kernels.folding_layers import normed_linear, seeded_linear
from act3d.kernels.linear import Linear, linear
from act3d.models.patch_embedding import pointwise

Layers = tuple[nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.Conv1d]

SEEDS = ((-0.05, -0.05), (0.05, -0.05), (-0.05, 0.05), (0.05, 0.05))


class Folded(NamedTuple):
    """Points in their patch's coordinates: coarse (B, G, M/4, 3) and fine (B, G, M, 3)."""

    coarse: torch.Tensor
    fine: torch.Tensor


class FoldingDecoder(nn.Module):
    """Folding decoder (FoldingNet, Yang et al., 2018): M/4 coarse points by an MLP, each unfolded into 4 fine ones.

    The layer over [patch feature, seed, coarse point] is split: the feature's part is computed once a patch, the
    seed's once for all. Parameter names and shapes stay those of the released 1x1 convolutions.

    Args:
        width: C, of a patch's feature.
        patch_size: M, a multiple of 4.
        hidden: Width of the folding layers; the MLP is twice as wide.
    """

    def __init__(self, width: int, patch_size: int, hidden: int = 512) -> None:
        super().__init__()
        if patch_size % 4:
            raise ValueError(f"patch_size = {patch_size}; the folding decoder needs a multiple of 4")
        self.hidden = hidden
        self.coarse_points = patch_size // 4
        self.mlp = nn.Sequential(
            Linear(width, 2 * hidden),
            nn.ReLU(),
            Linear(2 * hidden, 2 * hidden),
            nn.ReLU(),
            Linear(2 * hidden, 3 * self.coarse_points),
        )
        self.final_conv = nn.Sequential(
            nn.Conv1d(width + 5, hidden, 1),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Conv1d(hidden, hidden, 1),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Conv1d(hidden, 3, 1),
        )
        self.register_buffer("seeds", torch.tensor(SEEDS), persistent=False)
        self.seeds: torch.Tensor

    def forward(self, features: torch.Tensor) -> Folded:
        """Points of every patch.

        Args:
            features: Tensor with shape (B, G, C).

        Returns:
            Folded with coarse (B, G, M/4, 3) and fine (B, G, M, 3) points relative to the center.
        """
        batch, patches, width = features.shape
        rows = features.reshape(-1, width)  # (P, C) with P = B G
        coarse = self.mlp(rows).view(-1, self.coarse_points, 1, 3)
        conv1, norm1, _, conv2, norm2, _, conv3 = cast(Layers, self.final_conv)
        of_patch = pointwise(conv1, rows, slice(0, width)).view(-1, 1, 1, self.hidden)
        of_seed = pointwise(conv1, self.seeds.to(rows.dtype), slice(width, width + 2), bias=False)  # (4, hidden)
        of_coarse = pointwise(conv1, coarse, slice(width + 2, width + 5), bias=False)  # (P, M/4, 1, hidden)
        x = of_coarse + of_patch
        if folds(norm1, x.view(-1, self.hidden)) and folds(norm2, x.view(-1, self.hidden)):
            offsets = self._offsets(x.view(-1, self.hidden), of_seed)
        else:
            x = F.relu(norm1((x + of_seed).view(-1, self.hidden)))  # (P M, hidden)
            offsets = pointwise(conv3, F.relu(norm2(pointwise(conv2, x))))
        fine = (coarse + offsets.view(-1, self.coarse_points, 4, 3)).view(batch, patches, -1, 3)
        return Folded(coarse.view(batch, patches, -1, 3), fine)

    def _offsets(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """The same on the CPU: x (P M/4, hidden) and seeds (4, hidden) before the first norm -> offsets (P M, 3).

        Every row meets every seed, so mean and variance of the sums are the sums of means and variances.
        """
        _, norm1, _, conv2, norm2, _, conv3 = cast(Layers, self.final_conv)
        if norm1.training:
            mean_x, mean_seed = x.mean(0), seeds.mean(0)
            variance = (x - mean_x).square().mean(0) + (seeds - mean_seed).square().mean(0)
            mean = mean_x + mean_seed
            remember(norm1, mean, variance, 4 * len(x))
        else:
            mean, variance = running(norm1)
        scale, offset = scale_shift(norm1, mean, variance)
        x, seeds = x * scale, seeds * scale + offset
        weight, bias = conv2.weight.flatten(1), cast(torch.Tensor, conv2.bias)
        last, last_bias = conv3.weight.flatten(1), cast(torch.Tensor, conv3.bias)
        if norm2.training:
            y = seeded_linear(x, seeds, weight, bias)
            offsets, mean, variance = normed_linear(y, norm2.weight, norm2.bias, norm2.eps, last, last_bias)
            remember(norm2, mean, variance, len(y))
            return offsets
        scale, offset = scale_shift(norm2, *running(norm2))
        y = seeded_linear(x, seeds, weight * scale.unsqueeze(1), bias * scale + offset)
        return linear(F.relu(y), last, last_bias)

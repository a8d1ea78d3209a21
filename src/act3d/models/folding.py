"""The decoder that unfolds a patch's feature into points."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from act3d.models.patch_embedding import pointwise

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
            nn.Linear(width, 2 * hidden),
            nn.ReLU(),
            nn.Linear(2 * hidden, 2 * hidden),
            nn.ReLU(),
            nn.Linear(2 * hidden, 3 * self.coarse_points),
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
        rows = features.reshape(-1, width)  # (B G, C)
        coarse = self.mlp(rows).view(-1, self.coarse_points, 1, 3)
        conv1, norm1, _, conv2, norm2, _, conv3 = self.final_conv
        of_patch = pointwise(conv1, rows, slice(0, width)).view(-1, 1, 1, self.hidden)
        of_seed = pointwise(conv1, self.seeds.to(rows.dtype), slice(width, width + 2), bias=False)  # (4, hidden)
        of_coarse = pointwise(conv1, coarse, slice(width + 2, width + 5), bias=False)  # (B G, M/4, 1, hidden)
        x = (of_coarse + of_patch) + of_seed  # (B G, M/4, 4, hidden)
        x = F.relu(norm1(x.view(-1, self.hidden)))
        x = F.relu(norm2(pointwise(conv2, x)))
        offsets = pointwise(conv3, x).view(-1, self.coarse_points, 4, 3)
        fine = (coarse + offsets).view(batch, patches, -1, 3)
        return Folded(coarse.view(batch, patches, -1, 3), fine)

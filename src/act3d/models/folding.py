"""The decoder that turns a patch's feature into points."""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.kernels.dispatch import folds_batch_norm
from act3d.kernels.folding_layers import fine_offsets
from act3d.kernels.linear import Linear, pointwise

SEEDS = ((-0.05, -0.05), (0.05, -0.05), (-0.05, 0.05), (0.05, 0.05))  # a square around each coarse point


class DecodedPatches(NamedTuple):
    """Points relative to their patch's center: coarse (B, G, M/4, 3) and fine (B, G, M, 3)."""

    coarse: torch.Tensor
    fine: torch.Tensor


class FoldingDecoder(nn.Module):
    """Folding decoder (FoldingNet, Yang et al., 2018): M/4 coarse points by an MLP, four fine points around each.

    The layer over [patch feature, seed, coarse point] is split: the feature's part is computed once a patch, the
    seed's once for all. Parameter names and shapes stay those of the released 1x1 convolutions.

    Args:
        width: C, of a patch's feature.
        patch_size: M, a multiple of 4.
        hidden: Width of the folding layers; the MLP is twice as wide.

    Raises:
        ValueError: `patch_size` is no multiple of 4.
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
        # Not in checkpoints, so it must hold its values even in a model built without memory (torch.device("meta")).
        self.register_buffer("seeds", torch.tensor(SEEDS, device="cpu"), persistent=False)
        self.seeds: torch.Tensor

    @property
    def last_layer(self) -> nn.Conv1d:
        """The layer that gives the offsets of fine from coarse points, C_out = 3."""
        return cast(nn.Conv1d, self.final_conv[-1])

    def forward(self, features: torch.Tensor) -> DecodedPatches:
        """Points of every patch.

        Args:
            features: Tensor with shape (B, G, C).

        Returns:
            DecodedPatches with coarse (B, G, M/4, 3) and fine (B, G, M, 3) points relative to the center.
        """
        batch, patches, width = features.shape
        rows = features.reshape(-1, width)  # (B, G, C) -> (P, C) with P = B G
        coarse = self.mlp(rows).view(-1, self.coarse_points, 1, 3)
        conv1, norm1, _, conv2, norm2, _, conv3 = self.final_conv
        # W [feature, seed, coarse point] in three parts, each computed once
        of_feature = pointwise(conv1, rows, slice(0, width)).view(-1, 1, 1, self.hidden)
        of_seed = pointwise(conv1, self.seeds.to(rows.dtype), slice(width, width + 2), bias=False)  # (4, hidden)
        of_coarse = pointwise(conv1, coarse, slice(width + 2, width + 5), bias=False)  # (P, M/4, 1, hidden)
        x = of_coarse + of_feature
        if folds_batch_norm(x.view(-1, self.hidden), norm1, norm2):  # the same with less work, on the CPU
            offsets = fine_offsets(x.view(-1, self.hidden), of_seed, self.final_conv)
        else:
            x = F.relu(norm1((x + of_seed).view(-1, self.hidden)))  # (P M, hidden)
            offsets = pointwise(conv3, F.relu(norm2(pointwise(conv2, x))))
        fine = coarse + offsets.view(-1, self.coarse_points, 4, 3)  # (P, M/4, 4, 3)
        return DecodedPatches(coarse.view(batch, patches, -1, 3), fine.view(batch, patches, -1, 3))

"""The mini-PointNet that turns each patch of points into one feature vector."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.errors import InputError
from act3d.kernels.dispatch import folds_batch_norm
from act3d.kernels.linear import pointwise
from act3d.kernels.patch_embedding import embed_patches


class PatchEmbedding(nn.Module):
    """Patch embedding (B, G, M, 3) -> (B, G, C) (PointNet, Qi et al., 2017, once per patch).

    Parameters keep the names and shapes of the released 1x1 convolutions; the arithmetic runs on rows, one a point.

    Args:
        width: C, of a patch's feature.
        beside: F, numbers that a point has beside x, y and z.
    """

    def __init__(self, width: int, beside: int = 0) -> None:
        super().__init__()
        self.width, self.inputs = width, 3 + beside
        self.first_conv = nn.Sequential(
            nn.Conv1d(3 + beside, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, width, 1)
        )

    @property
    def last_layer(self) -> nn.Conv1d:
        """The layer before the last maximum, C_out = C."""
        return cast(nn.Conv1d, self.second_conv[-1])

    def forward(self, neighborhoods: torch.Tensor) -> torch.Tensor:
        """Embed every patch.

        Args:
            neighborhoods: Tensor with shape (B, G, M, 3 + F), coordinates relative to each center, then channels.

        Returns:
            Tensor with shape (B, G, C).
        """
        batch, patches, size, inputs = neighborhoods.shape
        if inputs != self.inputs:
            raise InputError(f"points have {inputs} numbers each; this model takes {self.inputs}")
        points = neighborhoods.reshape(-1, inputs)  # (B, G, M, 3 + F) -> (B G M, 3 + F)
        conv1, norm1, _, conv2 = self.first_conv
        conv3, norm2, _, conv4 = self.second_conv
        if folds_batch_norm(points, norm1, norm2):  # the same with less work, on the CPU
            features = embed_patches(points, size, self.first_conv, self.second_conv)
            return features.view(batch, patches, self.width)
        local = pointwise(conv2, F.relu(norm1(pointwise(conv1, points))))  # (B G M, 256)
        whole = local.view(-1, size, 256).amax(dim=1)  # (B G, 256): the maximum over a patch
        # W [whole, local] = W_whole whole + W_local local: the first product once a patch, not once a point
        of_whole = pointwise(conv3, whole, slice(0, 256))
        of_local = pointwise(conv3, local, slice(256, 512), bias=False)
        joined = (of_local.view(-1, size, 512) + of_whole.unsqueeze(1)).view(-1, 512)  # (B G M, 512)
        x = pointwise(conv4, F.relu(norm2(joined)))  # (B G M, C)
        return x.view(batch, patches, size, self.width).amax(dim=2)

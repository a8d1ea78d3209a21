"""The mini-PointNet that turns each patch of points into one feature vector."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn


def pointwise(layer: nn.Module, x: torch.Tensor, columns: slice | None = None, bias: bool = True) -> torch.Tensor:
    """Apply a 1x1 convolution to rows (..., C_in) as a matrix product.

    Args:
        layer: nn.Conv1d or nn.Conv2d whose weight has shape (C_out, C_in, 1[, 1]).
        x: Tensor with shape (..., C_in), or (..., width of `columns`).
        columns: The input channels of the weight to use; all by default.
        bias: Add the layer's bias, if it has one.

    Returns:
        Tensor with shape (..., C_out).
    """
    layer = cast(nn.Conv1d, layer)
    weight = layer.weight.flatten(1)
    return F.linear(x, weight if columns is None else weight[:, columns], layer.bias if bias else None)


class PatchEmbedding(nn.Module):
    """Patch embedding (B, G, M, 3) -> (B, G, C) (PointNet, Qi et al., 2017, once per patch).

    Parameters keep the names and shapes of the released 1x1 convolutions; the arithmetic runs on rows, and the
    half of the second layer that sees the patch's maximum is computed once a patch instead of once a point.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first_conv = nn.Sequential(nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1))
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, width, 1)
        )

    def forward(self, neighborhoods: torch.Tensor) -> torch.Tensor:
        """Embed every patch.

        Args:
            neighborhoods: Tensor with shape (B, G, M, 3), coordinates relative to each center.

        Returns:
            Tensor with shape (B, G, C).
        """
        batch, patches, size, _ = neighborhoods.shape
        conv1, norm1, _, conv2 = self.first_conv
        conv3, norm2, _, conv4 = self.second_conv
        points = neighborhoods.reshape(-1, 3)  # (B G M, 3): one row a point
        x = F.relu(norm1(pointwise(conv1, points)))
        local = pointwise(conv2, x)  # (B G M, 256)
        whole = local.view(-1, size, 256).amax(dim=1)  # (B G, 256)
        # W [max, point] = W_max max + W_point point; the first once a patch
        shared = pointwise(conv3, whole, slice(0, 256))
        x = pointwise(conv3, local, slice(256, 512), bias=False).view(-1, size, 512) + shared.unsqueeze(1)
        x = F.relu(norm2(x.view(-1, 512)))
        x = pointwise(conv4, x).view(-1, size, self.width).amax(dim=1)
        return x.view(batch, patches, self.width)

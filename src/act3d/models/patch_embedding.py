"""The mini-PointNet that turns each patch of points into one feature vector."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.kernels.batch_norm import folds, moments, remember, running, scale_shift, variance_after
from act3d.kernels.linear import linear
from act3d.kernels.patch_maximum import linear_max, mlp_max

Layers = tuple[nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.Conv1d]


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
    return linear(x, weight if columns is None else weight[:, columns], layer.bias if bias else None)


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
        points = neighborhoods.reshape(-1, 3)  # (B G M, 3): one row a point
        folded = folds(self.first_conv[1], points) and folds(self.second_conv[1], points)
        x = self._pooled(points, size) if folded else self._plain(points, size)
        return x.view(batch, patches, self.width)

    def _plain(self, points: torch.Tensor, size: int) -> torch.Tensor:
        """Layer by layer: points (P M, 3) -> (P, C)."""
        conv1, norm1, _, conv2 = self.first_conv
        conv3, norm2, _, conv4 = self.second_conv
        x = F.relu(norm1(pointwise(conv1, points)))
        local = pointwise(conv2, x)  # (P M, 256)
        whole = local.view(-1, size, 256).amax(dim=1)  # (P, 256)
        # W [max, point] = W_max max + W_point point; the first once a patch
        shared = pointwise(conv3, whole, slice(0, 256))
        x = pointwise(conv3, local, slice(256, 512), bias=False).view(-1, size, 512) + shared.unsqueeze(1)
        x = F.relu(norm2(x.view(-1, 512)))
        return pointwise(conv4, x).view(-1, size, self.width).amax(dim=1)

    def _pooled(self, points: torch.Tensor, size: int) -> torch.Tensor:
        """The same on the CPU, with both norms folded into the layers before them: points (P M, 3) -> (P, C).

        What a point hands to the third layer is linear in what it got from the first, so the second and third layer
        are one product for it: W_point (W2 x + b2) = (W_point W2) x + W_point b2.
        """
        conv1, norm1, _, conv2 = cast(Layers, self.first_conv)
        conv3, norm2, _, conv4 = cast(Layers, self.second_conv)
        x = F.relu(_first_layer(conv1, norm1, points))  # (P M, 128)
        whole = linear_max(x, conv2.weight.flatten(1), cast(torch.Tensor, conv2.bias), size)  # (P, 256)
        of_whole, of_point = conv3.weight.flatten(1).split(256, dim=1)
        inner = linear(of_point, conv2.weight.flatten(1).t())  # (512, 128)
        shift = linear(whole, of_whole, conv3.bias) + of_point @ cast(torch.Tensor, conv2.bias)  # (P, 512)
        mean, variance = _statistics(norm2, x, inner, shift, size)
        scale, offset = scale_shift(norm2, mean, variance)
        return mlp_max(
            x,
            inner * scale.unsqueeze(1),
            shift * scale + offset,
            conv4.weight.flatten(1),
            cast(torch.Tensor, conv4.bias),
            size,
        )


def _first_layer(conv: nn.Conv1d, norm: nn.BatchNorm1d, points: torch.Tensor) -> torch.Tensor:
    """Convolution and batch norm as one product: (R, 3) -> (R, 128)."""
    weight, bias = conv.weight.flatten(1), cast(torch.Tensor, conv.bias)
    if norm.training:
        center, covariance = moments(points)
        mean, variance = linear(center, weight, bias), variance_after(weight, covariance)
        remember(norm, mean, variance, len(points))
    else:
        mean, variance = running(norm)
    scale, offset = scale_shift(norm, mean, variance)
    return linear(points, weight * scale.unsqueeze(1), bias * scale + offset)


def _statistics(
    norm: nn.BatchNorm1d, x: torch.Tensor, inner: torch.Tensor, shift: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of x inner^T + shift, the shift being one for each patch: x (P M, I), shift (P, H) -> (H,)."""
    if not norm.training:
        return running(norm)
    center, covariance = moments(x)
    middle = shift.mean(0)
    patch_center = x.view(-1, size, x.shape[1]).mean(1) - center  # (P, I)
    both = (shift - middle).t() @ patch_center / len(shift)  # (H, I): how points and shift go together
    variance = ((inner @ covariance + 2 * both) * inner).sum(1) + (shift - middle).square().mean(0)
    mean, variance = linear(center, inner) + middle, variance.clamp_min(0)
    remember(norm, mean, variance, len(x))
    return mean, variance

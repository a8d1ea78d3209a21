"""The patch embedding on the CPU: the same result with less work.

Both batch norms are folded into the layers before them, and the two maxima over a patch are taken as the rows are made
(`patch_maximum`). What a point gives to the third layer is linear in what it got from the first, so the second
and third layer are one product for it: W_local (W2 x + b2) = (W_local W2) x + W_local b2.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.kernels.batch_norm import (
    mean_and_covariance,
    running_statistics,
    scale_and_shift,
    update_running_statistics,
    variance_after_linear,
)
from act3d.kernels.linear import linear
from act3d.kernels.patch_maximum import linear_max, mlp_max


def embed_patches(points: torch.Tensor, size: int, first: nn.Sequential, second: nn.Sequential) -> torch.Tensor:
    """Features of patches, as `models.patch_embedding.PatchEmbedding` computes them layer by layer.

    Args:
        points: Tensor with shape (P * size, 3), the points of a patch one after another.
        size: Points a patch.
        first, second: 1x1 convolution, batch norm, ReLU, 1x1 convolution each; the second pair takes
            [maximum over the patch, point].

    Returns:
        Tensor with shape (P, C). Running statistics of both norms move as in training, if they are in training.
    """
    conv1, norm1, conv2 = _layers(first)
    conv3, norm2, conv4 = _layers(second)
    weight2, bias2 = _weight_and_bias(conv2)
    weight3, bias3 = _weight_and_bias(conv3)
    weight4, bias4 = _weight_and_bias(conv4)
    x = F.relu(_normed_convolution(conv1, norm1, points))  # (P M, 128)
    whole = linear_max(x, weight2, bias2, size)  # (P, 256)
    weight_whole, weight_local = weight3.split(256, dim=1)
    inner = linear(weight_local, weight2.t())  # (512, 128): second and third layer in one
    shift = linear(whole, weight_whole, bias3) + weight_local @ bias2  # (P, 512): the same for all points of a patch
    mean, variance = _statistics(norm2, x, inner, shift, size)
    scale, offset = scale_and_shift(norm2, mean, variance)
    return mlp_max(x, inner * scale.unsqueeze(1), shift * scale + offset, weight4, bias4, size)


def _layers(sequence: nn.Sequential) -> tuple[nn.Conv1d, nn.BatchNorm1d, nn.Conv1d]:
    convolution, norm, _, last = sequence
    return cast(nn.Conv1d, convolution), cast(nn.BatchNorm1d, norm), cast(nn.Conv1d, last)


def _weight_and_bias(layer: nn.Conv1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (C_out, C_in) and bias (C_out,) of a 1x1 convolution."""
    return layer.weight.flatten(1), cast(torch.Tensor, layer.bias)


def _normed_convolution(conv: nn.Conv1d, norm: nn.BatchNorm1d, points: torch.Tensor) -> torch.Tensor:
    """Convolution and batch norm as one product: (R, 3) -> (R, 128)."""
    weight, bias = _weight_and_bias(conv)
    if norm.training:
        center, covariance = mean_and_covariance(points)
        mean, variance = linear(center, weight, bias), variance_after_linear(weight, covariance)
        update_running_statistics(norm, mean, variance, len(points))
    else:
        mean, variance = running_statistics(norm)
    scale, offset = scale_and_shift(norm, mean, variance)
    return linear(points, weight * scale.unsqueeze(1), bias * scale + offset)


def _statistics(
    norm: nn.BatchNorm1d, x: torch.Tensor, inner: torch.Tensor, shift: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (H,) of x inner^T + shift: x (P M, I), inner (H, I), and one shift a patch (P, H)."""
    if not norm.training:
        return running_statistics(norm)
    center, covariance = mean_and_covariance(x)
    mean_shift = shift.mean(0)
    patch_center = x.view(-1, size, x.shape[1]).mean(1) - center  # (P, I)
    shift_with_x = (shift - mean_shift).t() @ patch_center / len(shift)  # (H, I): covariance of shift and x
    variance = ((inner @ covariance + 2 * shift_with_x) * inner).sum(1) + (shift - mean_shift).square().mean(0)
    mean, variance = linear(center, inner) + mean_shift, variance.clamp_min(0)
    update_running_statistics(norm, mean, variance, len(x))
    return mean, variance

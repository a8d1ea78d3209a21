"""The graph network (DGCNN) over neighboring patches: the token head and the feature head."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry import gather, knn
from act3d.kernels.linear import linear, pointwise

NEIGHBORS = 4  # of each patch, itself one of them


class GraphNetwork(nn.Module):
    """Graph network (B, G, C_in) -> (B, G, C_out) over the 4 nearest centers (DGCNN, Wang et al., 2019).

    Parameter names and shapes are those of the released 1x1 convolutions. An edge layer there multiplies
    [neighbor - center, center] for every edge; with W = [W1, W2] that equals W1 neighbor + (W2 - W1) center: two
    products a patch, then a gather. The maximum over neighbors is taken after the norm, whose scale may be negative.

    Args:
        width_in, width_out: C_in and C_out, the latter a multiple of 4.
        hidden: Width of the last edge layer, a multiple of 32; the others are a quarter, half and half of it.
    """

    def __init__(self, width_in: int, width_out: int, hidden: int = 1024) -> None:
        super().__init__()
        if hidden % 32:
            raise ValueError(f"hidden = {hidden}; the graph network needs a multiple of 32")
        eighth, quarter, half = hidden // 8, hidden // 4, hidden // 2
        self.input_trans = nn.Conv1d(width_in, eighth, 1)
        self.layer1 = _edge_layer(quarter, quarter)
        self.layer2 = _edge_layer(half, half)
        self.layer3 = _edge_layer(hidden, half)
        self.layer4 = _edge_layer(hidden, hidden)
        joined = quarter + half + half + hidden
        self.layer5 = nn.Sequential(
            nn.Conv1d(joined, width_out, 1, bias=False), nn.GroupNorm(4, width_out), nn.LeakyReLU(0.2)
        )

    @property
    def edge_layers(self) -> tuple[nn.Sequential, ...]:
        """The four layers over edges: convolution, norm and leaky ReLU each."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def forward(self, features: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
        """Features of patches, each with those of its neighbors mixed in.

        Args:
            features: Tensor with shape (B, G, C_in).
            neighbors: int64 Tensor with shape (B, G, 4) from `center_graph`.

        Returns:
            Tensor with shape (B, G, C_out).
        """
        x = pointwise(self.input_trans, features)
        outputs = []
        for layer in self.edge_layers:
            x = _edge_convolution(layer, x, neighbors)
            outputs.append(x)
        convolution, norm, _ = self.layer5
        joined = pointwise(convolution, torch.cat(outputs, dim=2))  # (B, G, 9/4 hidden) -> (B, G, C_out)
        return F.leaky_relu(_group_norm(norm, joined), 0.2)


def center_graph(centers: torch.Tensor) -> torch.Tensor:
    """Nearest centers of each center, itself first; all edge layers use them: (B, G, 3) -> int64 (B, G, 4)."""
    return knn(centers, centers, min(NEIGHBORS, centers.shape[1]))


def _edge_layer(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width_out, 1, bias=False), nn.GroupNorm(4, width_out), nn.LeakyReLU(0.2))


def _edge_convolution(layer: nn.Sequential, x: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
    """All edges of a patch through a layer, then the maximum over them: (B, G, C) -> (B, G, C_out)."""
    convolution, norm, _ = layer
    width = x.shape[2]
    weight = cast(nn.Conv2d, convolution).weight.flatten(1)
    weight_neighbor, weight_center = weight[:, :width], weight[:, width:]
    of_neighbor = linear(x, weight_neighbor)  # (B, G, C_out)
    of_center = linear(x, weight_center - weight_neighbor)
    edges = gather(of_neighbor, neighbors) + of_center.unsqueeze(2)  # (B, G, k, C_out)
    batch, patches, k, width_out = edges.shape
    normed = _group_norm(norm, edges.view(batch, patches * k, width_out))
    return F.leaky_relu(normed, 0.2).view(batch, patches, k, width_out).amax(dim=2)


def _group_norm(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """GroupNorm over rows: (B, R, C), the statistics over the rows and the channels of a group."""
    norm = cast(nn.GroupNorm, norm)
    if x.device.type != "cpu":
        return group_norm_of_rows(norm, x)
    # (B, R, C) seen as channels-last (B, C, 1, R): on the CPU torch then reads and writes rows without a copy
    image = x.transpose(1, 2).unsqueeze(2)
    return F.group_norm(image, norm.num_groups, norm.weight, norm.bias, norm.eps).squeeze(2).transpose(1, 2)


def group_norm_of_rows(norm: nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """The same without torch's own operation, which on CUDA first copies rows (B, R, C) into images (B, C, R)."""
    batch, rows, width = x.shape
    grouped = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x  # as autocast does for group norm
    grouped = grouped.view(batch, rows, norm.num_groups, -1)
    variance, mean = torch.var_mean(grouped, dim=(1, 3), correction=0, keepdim=True)  # (B, 1, groups, 1)
    scale = norm.weight.view(norm.num_groups, -1) * (variance + norm.eps).rsqrt()  # (B, 1, groups, C / groups)
    shift = norm.bias.view(norm.num_groups, -1) - mean * scale
    return torch.addcmul(shift, grouped, scale).view(batch, rows, width)

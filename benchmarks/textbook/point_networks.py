"""Patch embedding, graph network and folding decoder with 1x1 convolutions over channel-first tensors."""

import torch
from torch import Tensor, nn

from benchmarks.textbook.geometry import index_points, knn


class Encoder(nn.Module):
    """Mini-PointNet on every patch. (B, G, M, 3) -> (B, G, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first_conv = nn.Sequential(
            nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Conv1d(128, 256, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Conv1d(512, width, 1)
        )

    def forward(self, neighborhood: Tensor) -> Tensor:
        batch, groups, size, _ = neighborhood.shape
        points = neighborhood.reshape(batch * groups, size, 3).transpose(2, 1)  # (BG, 3, M)
        local = self.first_conv(points)
        whole = local.max(dim=2, keepdim=True).values.expand(-1, -1, size)  # repeated to every point
        features = self.second_conv(torch.cat([whole, local], dim=1))
        return features.max(dim=2).values.reshape(batch, groups, self.width)


class DGCNN(nn.Module):
    """Graph network on the patches of a cloud. (B, G, C), (B, G, 3) -> (B, G, out)."""

    def __init__(self, width: int, out: int, hidden: int = 1024) -> None:
        super().__init__()
        self.input_trans = nn.Conv1d(width, hidden // 8, 1)
        self.layer1 = self._edge_layer(hidden // 4, hidden // 4)
        self.layer2 = self._edge_layer(hidden // 2, hidden // 2)
        self.layer3 = self._edge_layer(hidden, hidden // 2)
        self.layer4 = self._edge_layer(hidden, hidden)
        joined = hidden * 9 // 4
        self.layer5 = nn.Sequential(nn.Conv1d(joined, out, 1, bias=False), nn.GroupNorm(4, out), nn.LeakyReLU(0.2))

    @staticmethod
    def _edge_layer(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.GroupNorm(4, outputs), nn.LeakyReLU(negative_slope=0.2)
        )

    @staticmethod
    def edges(center: Tensor, features: Tensor, k: int = 4) -> Tensor:
        """[neighbour - centre, centre] over the k nearest centres. (B, C, G) -> (B, 2C, G, k)."""
        neighbours = index_points(features.transpose(1, 2), knn(center, center, k)).permute(0, 3, 1, 2)
        own = features[..., None].expand_as(neighbours)
        return torch.cat([neighbours - own, own], dim=1)

    def forward(self, features: Tensor, center: Tensor) -> Tensor:
        x = self.input_trans(features.transpose(1, 2))
        outputs = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(self.edges(center, x)).max(dim=-1).values
            outputs.append(x)
        return self.layer5(torch.cat(outputs, dim=1)).transpose(1, 2)


class Decoder(nn.Module):
    """Folding: coarse points by an MLP, four fine points around each. (B, G, C) -> (B, G, M/4, 3), (B, G, M, 3)."""

    seed: Tensor

    def __init__(self, width: int, fine: int, hidden: int = 512) -> None:
        super().__init__()
        self.fine, self.coarse = fine, fine // 4
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * hidden),
            nn.ReLU(inplace=True),
            nn.Linear(2 * hidden, 2 * hidden),
            nn.ReLU(inplace=True),
            nn.Linear(2 * hidden, 3 * self.coarse),
        )
        self.final_conv = nn.Sequential(
            nn.Conv1d(width + 5, hidden, 1),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, hidden, 1),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, 3, 1),
        )
        seed = [[-0.05, 0.05, -0.05, 0.05], [-0.05, -0.05, 0.05, 0.05]]
        self.register_buffer("seed", torch.tensor(seed), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        batch, groups, width = features.shape
        flat = features.reshape(batch * groups, width)
        coarse = self.mlp(flat).reshape(batch * groups, self.coarse, 3)
        start = coarse[:, :, None, :].expand(-1, -1, 4, -1).reshape(batch * groups, self.fine, 3).transpose(2, 1)
        seed = self.seed.to(features.dtype).repeat(batch * groups, 1, self.coarse)  # the four seeds of every point
        whole = flat[:, :, None].expand(-1, -1, self.fine)
        fine = self.final_conv(torch.cat([whole, seed, start], dim=1)) + start
        fine = fine.transpose(2, 1).reshape(batch, groups, self.fine, 3)
        return coarse.reshape(batch, groups, self.coarse, 3), fine

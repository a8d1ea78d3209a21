"""Fine-tuning: the classifier and both segmenters."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.textbook.geometry import group, interpolate
from benchmarks.textbook.point_networks import Encoder
from benchmarks.textbook.transformer import TransformerEncoder, position_embedding


class Classifier(nn.Module):
    """The encoder over all patches, [class token, max over patches], head. (B, N, 3) -> (B, classes)."""

    def __init__(
        self,
        classes: int,
        patches: int = 128,
        patch_size: int = 32,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.patches, self.patch_size = patches, patch_size
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.encoder = Encoder(width)
        self.pos_embed = position_embedding(width)
        self.blocks = TransformerEncoder(width, depth, heads, drop_path)
        self.norm = nn.LayerNorm(width)
        layers: list[nn.Module] = [nn.Linear(2 * width, classes)]
        if not linear:
            layers = [nn.Linear(2 * width, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Dropout(0.5)]
            layers += [nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Dropout(0.5)]
            layers += [nn.Linear(256, classes)]
        self.cls_head_finetune = nn.Sequential(*layers)

    def forward(self, points: Tensor) -> Tensor:
        neighborhood, center = group(points, self.patches, self.patch_size)
        batch = len(points)
        x = torch.cat([self.cls_token.expand(batch, -1, -1), self.encoder(neighborhood)], dim=1)
        pos = torch.cat([self.cls_pos.expand(batch, -1, -1), self.pos_embed(center)], dim=1)
        x = self.norm(self.blocks(x, pos)[0])
        return self.cls_head_finetune(torch.cat([x[:, 0], x[:, 1:].max(dim=1).values], dim=-1))


class Propagation(nn.Module):
    """Patch features interpolated at every point, with the point's coordinates in front. -> (B, 1024, N)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp_convs = nn.ModuleList([nn.Conv1d(3 + width, 1536, 1), nn.Conv1d(1536, 1024, 1)])
        self.mlp_bns = nn.ModuleList([nn.BatchNorm1d(1536), nn.BatchNorm1d(1024)])

    def forward(self, points: Tensor, center: Tensor, features: Tensor) -> Tensor:
        x = torch.cat([points, interpolate(points, center, features)], dim=-1).transpose(1, 2)
        for conv, norm in zip(self.mlp_convs, self.mlp_bns, strict=True):
            x = F.relu(norm(conv(x)))
        return x


class Segmenter(nn.Module):
    """Log-probabilities of every point: of parts, given the category, or of scene classes. (B, N, 3) -> (B, N, K)."""

    def __init__(
        self,
        classes: int,
        categories: int = 0,
        patches: int = 128,
        patch_size: int = 32,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        feature_blocks: tuple[int, ...] = (3, 7, 11),
    ) -> None:
        super().__init__()
        self.patches, self.patch_size, self.categories = patches, patch_size, categories
        self.feature_blocks = feature_blocks
        self.encoder = Encoder(width)
        self.pos_embed = position_embedding(width)
        self.blocks = TransformerEncoder(width, depth, heads, drop_path)
        self.norm = nn.LayerNorm(width)
        joined = width * len(feature_blocks)
        if categories:
            self.label_conv_cls = nn.Sequential(
                nn.Conv1d(categories, 64, 1, bias=False), nn.BatchNorm1d(64), nn.LeakyReLU(0.2)
            )
        self.propagation_0_cls = Propagation(joined)
        self.convs1_cls = nn.Conv1d(1024 + 2 * joined + (64 if categories else 0), 512, 1)
        self.convs2_cls = nn.Conv1d(512, 256, 1)
        self.convs3_cls = nn.Conv1d(256, classes, 1)
        self.bns1_cls, self.bns2_cls = nn.BatchNorm1d(512), nn.BatchNorm1d(256)
        self.dropout = nn.Dropout(0.5)

    def forward(self, points: Tensor, category: Tensor | None = None) -> Tensor:
        _batch, count, _ = points.shape
        neighborhood, center = group(points, self.patches, self.patch_size)
        _, kept = self.blocks(self.encoder(neighborhood), self.pos_embed(center), self.feature_blocks)
        features = torch.cat([self.norm(x) for x in kept], dim=-1)  # (B, G, 3C)
        whole = [features.max(dim=1).values, features.mean(dim=1)]
        if category is not None:
            one_hot = F.one_hot(category, self.categories).to(points.dtype)
            whole.append(self.label_conv_cls(one_hot[:, :, None])[:, :, 0])
        repeated = torch.cat(whole, dim=1)[:, :, None].expand(-1, -1, count)
        x = torch.cat([self.propagation_0_cls(points, center, features), repeated], dim=1)
        x = self.dropout(F.relu(self.bns1_cls(self.convs1_cls(x))))
        x = F.relu(self.bns2_cls(self.convs2_cls(x)))
        return self.convs3_cls(x).log_softmax(dim=1).transpose(1, 2)

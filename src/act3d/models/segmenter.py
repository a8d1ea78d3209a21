"""The segmenter: a label for every point, of a shape's parts or of a scene's things (Point-MAE's head)."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.channels import width_of
from act3d.errors import InputError
from act3d.geometry import Patches, interpolate
from act3d.kernels.linear import pointwise
from act3d.models.encoder import PointEncoder
from act3d.models.few_weights import FEW, few_config
from act3d.models.transfer import TransferModel

NEIGHBORS = 3  # centers that a point's features are mixed from
CATEGORY_WIDTH = 64


def even_blocks(depth: int) -> list[int]:
    """The three blocks (counted from 1) whose features are joined: 4, 8, 12 of 12, evenly spaced for other depths."""
    return sorted({max(1, round(depth * third / 3)) for third in (1, 2, 3)})


class Propagation(nn.Module):
    """Features of patches interpolated at every point, with the point's coordinates in front (PointNet++, section 3.4).

    Mixing the nearest centers is linear, so the first layer's matrix is applied to the G patches before the mixing
    and not to the N points after it: W sum_k w_k f_k = sum_k w_k (W f_k).
    """

    def __init__(self, width: int, widths: tuple[int, int], beside: int = 0) -> None:
        super().__init__()
        self.inputs = 3 + beside  # numbers of a point
        self.mlp_convs = nn.ModuleList(
            [nn.Conv1d(3 + beside + width, widths[0], 1), nn.Conv1d(widths[0], widths[1], 1)]
        )
        self.mlp_bns = nn.ModuleList(nn.BatchNorm1d(w) for w in widths)

    def forward(self, points: torch.Tensor, centers: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Points (B, N, 3 + F), centers (B, G, 3), features (B, G, C) -> rows (B N, widths[1])."""
        conv1, conv2 = self.mlp_convs
        projected = pointwise(conv1, features, slice(self.inputs, None), bias=False)  # (B, G, C) -> (B, G, 1536)
        places = points if self.inputs == 3 else points[..., :3].contiguous()
        mixed = interpolate(places.detach(), centers.detach(), projected, NEIGHBORS)  # (B, N, 1536)
        x = mixed.flatten(0, 1) + pointwise(conv1, points.reshape(-1, self.inputs), slice(0, self.inputs))
        x = F.relu(self.mlp_bns[0](x))
        return F.relu(self.mlp_bns[1](pointwise(conv2, x)))


class Segmenter(TransferModel):
    """A label for every point of a cloud. Two heads in one model: with categories it labels parts, without, scenes.

    Args:
        classes: K, labels to choose from (all parts of all categories, or the scene's classes).
        categories: Kinds of shape the model is told apart by a one-hot; 0 for scenes.
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        width, depth, heads, drop_path: Of the encoder.
        embed_width, normed_residual: Of the encoder too, see `PointEncoder`.
        feature_blocks: Blocks (from 1) whose features are joined; by default three, evenly spaced.
        head_widths: Of the two layers that bring features to points, and of the two that decide.
        dropout: In front of the last hidden layer.
        channels: What points have beside x, y and z, see `PointEncoder`; the head sees them too.
        transfer: Which parameters of the encoder are trained, see `TransferModel`; linear: the head is one layer.
        lora_rank, lora_targets: Of the transfer lora, see `add_lora`.
        adapter_width: Width of the bottlenecks of the transfer adapter.
    """

    kind: ClassVar[str] = "segmenter"

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
        embed_width: int | None = None,
        normed_residual: bool = False,
        feature_blocks: Sequence[int] | None = None,
        head_widths: Sequence[int] = (1536, 1024, 512, 256),
        dropout: float = 0.5,
        channels: Sequence[str] = (),
        transfer: str = "full",
        lora_rank: int = 4,
        lora_targets: Sequence[str] = ("qkv", "fc1"),
        adapter_width: int = 16,
    ) -> None:
        super().__init__()
        blocks = list(feature_blocks) if feature_blocks else even_blocks(depth)
        if not 1 <= min(blocks) <= max(blocks) <= depth:
            raise ValueError(f"feature_blocks = {blocks}; allowed are 1 to {depth}, the encoder's blocks")
        if len(head_widths) != 4:
            raise ValueError(f"head_widths = {list(head_widths)}; four widths are needed")
        left_out = ("self", "__class__", "blocks", "channels", "transfer", *FEW)
        arguments = {k: v for k, v in locals().items() if k not in left_out and k != "left_out"}
        self.config: dict[str, Any] = {**arguments, "feature_blocks": blocks, "head_widths": list(head_widths)}
        self.config |= few_config(transfer, lora_rank, lora_targets, adapter_width)
        if channels:
            self.config["channels"] = list(channels)
        if transfer != "full":
            self.config["transfer"] = transfer
        self.classes, self.categories = classes, categories
        self.patches, self.patch_size, self.width = patches, patch_size, width
        self.feature_blocks = tuple(blocks)
        self.encoder = PointEncoder(width, depth, heads, drop_path, False, embed_width, normed_residual, channels)
        self.set_transfer(transfer, lora_rank, lora_targets, adapter_width)
        self.label_conv_cls = (
            nn.Sequential(
                nn.Conv1d(categories, CATEGORY_WIDTH, 1, bias=False), nn.BatchNorm1d(CATEGORY_WIDTH), nn.LeakyReLU(0.2)
            )
            if categories
            else None
        )
        self._add_head(width * len(blocks), head_widths, dropout, width_of(channels))

    def _add_head(self, joined: int, head_widths: Sequence[int], dropout: float, beside: int) -> None:
        """Layers from features of patches (joined) and of whole clouds (2 joined [+ 64]) to labels; beside: F."""
        whole = 2 * joined + (CATEGORY_WIDTH if self.categories else 0)
        self.linear_cls = nn.Conv1d(joined + whole, self.classes, 1) if self.transfer == "linear" else None
        if self.linear_cls is not None:
            return
        first, self.local_width, hidden, last = head_widths
        self.propagation_0_cls = Propagation(joined, (first, self.local_width), beside)
        self.convs1_cls = nn.Conv1d(self.local_width + whole, hidden, 1)
        self.convs2_cls = nn.Conv1d(hidden, last, 1)
        self.convs3_cls = nn.Conv1d(last, self.classes, 1)
        self.bns1_cls, self.bns2_cls = nn.BatchNorm1d(hidden), nn.BatchNorm1d(last)
        self.dropout = nn.Dropout(dropout)

    def forward(self, points: torch.Tensor, category: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of every point.

        Args:
            points: Tensor with shape (B, N, 3), N >= G and M.
            category: int64 Tensor (B,), each in [0, categories); for parts only.

        Returns:
            Tensor with shape (B, N, K).

        Raises:
            InputError: The category is missing, of another length, or given to a segmenter of scenes.
        """
        return self.label_points(points, self.patchify(points), category)

    def label_points(self, points: torch.Tensor, patches: Patches, category: torch.Tensor | None) -> torch.Tensor:
        """Points (B, N, 3), cut into patches, and category (B,) -> logits (B, N, K)."""
        levels = self.level_features(patches)  # (B, G, 3 C)
        whole = self.cloud_features(levels, category)  # (B, 6 C [+ 64])
        if self.linear_cls is not None:  # W [mixed, whole] = mixed W_patches + W_whole whole: mixed after the product
            split = levels.shape[2]
            patch_logits = pointwise(self.linear_cls, levels, slice(0, split), bias=False)  # (B, G, 3 C) -> (B, G, K)
            places = points[..., :3].contiguous().detach()
            mixed = interpolate(places, patches.centers.detach(), patch_logits, NEIGHBORS)  # (B, N, K)
            return mixed + pointwise(self.linear_cls, whole, slice(split, None)).unsqueeze(1)
        local = self.propagation_0_cls(points, patches.centers, levels)  # (B N, 1024)
        return self.classify(local, whole, points.shape[1])

    def level_features(self, patches: Patches) -> torch.Tensor:
        """Features (B, G, 3 C) of every patch after each of the feature blocks, normed and joined."""
        x = self.encoder.embed_patches(patches.neighborhoods)
        pos = self.encoder.pos_embed(patches.centers)
        beside = self.beside(patches.neighborhoods)
        kept = []
        for number, block in enumerate(self.encoder.blocks, start=1):
            x = block(x + pos)
            if number in self.feature_blocks:
                kept.append(self.mixed(self.encoder.norm(x), beside))
        return torch.cat(kept, dim=2)

    def cloud_features(self, features: torch.Tensor, category: torch.Tensor | None) -> torch.Tensor:
        """Features of whole clouds (B, 6 C [+ 64]): maximum and mean over patches, and the category's."""
        parts = [features.amax(dim=1), features.mean(dim=1)]
        if (category is None) != (self.label_conv_cls is None):
            needs = "needs the category of every cloud" if category is None else "takes no category: it labels scenes"
            raise InputError(f"this segmenter {needs}")
        if category is not None and self.label_conv_cls is not None:
            if category.shape != features.shape[:1]:
                raise InputError(f"category {tuple(category.shape)} does not fit points of {len(features)} clouds")
            conv, norm, activation = self.label_conv_cls
            # W times a one-hot is a column of W
            rows = cast(torch.Tensor, conv.weight)[:, :, 0].T.index_select(0, category)
            parts.append(activation(norm(rows)))
        return torch.cat(parts, dim=1)

    def classify(self, local: torch.Tensor, whole: torch.Tensor, points: int) -> torch.Tensor:
        """Features of points (B N, 1024) and of their clouds (B, 6 C [+ 64]) -> logits (B, N, K)."""
        # W [local, whole] = W_local local + W_whole whole; the second once a cloud
        x = pointwise(self.convs1_cls, local, slice(0, self.local_width), bias=False)
        shared = pointwise(self.convs1_cls, whole, slice(self.local_width, None))
        x = (x.view(whole.shape[0], points, -1) + shared.unsqueeze(1)).flatten(0, 1)  # (B N, 512)
        x = self.dropout(F.relu(self.bns1_cls(x)))
        x = F.relu(self.bns2_cls(pointwise(self.convs2_cls, x)))
        return pointwise(self.convs3_cls, x).view(whole.shape[0], points, self.classes)

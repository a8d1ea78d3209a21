"""The segmenter: a label for every point, of a shape's parts or of a scene's things (SPEC 5; Point-MAE's head)."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.errors import InputError
from act3d.geometry import Patches, interpolate
from act3d.models.patch_embedding import pointwise
from act3d.models.student import PointEncoder
from act3d.use.points import Points, as_patches, is_batch, per_point

NEIGHBORS = 3  # centers that a point's features are mixed from
CATEGORY_WIDTH = 64


def even_blocks(depth: int) -> list[int]:
    """The three blocks (counted from 1) whose features are joined: 4, 8, 12 of 12, evenly spaced for other depths."""
    return sorted({max(1, round(depth * third / 3)) for third in (1, 2, 3)})


class Propagation(nn.Module):
    """Features of patches brought to every point, with the point's coordinates in front (PointNet++, section 3.4).

    Mixing the nearest centers is linear, so the first layer's matrix is applied to the G patches before the mixing
    and not to the N points after it: W sum_k w_k f_k = sum_k w_k (W f_k).
    """

    def __init__(self, width: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.mlp_convs = nn.ModuleList([nn.Conv1d(3 + width, widths[0], 1), nn.Conv1d(widths[0], widths[1], 1)])
        self.mlp_bns = nn.ModuleList(nn.BatchNorm1d(w) for w in widths)

    def forward(self, points: torch.Tensor, centers: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Points (B, N, 3), centers (B, G, 3), features (B, G, C) -> rows (B N, widths[1])."""
        conv1, conv2 = self.mlp_convs
        projected = pointwise(conv1, features, slice(3, None), bias=False)  # (B, G, C) -> (B, G, 1536)
        mixed = interpolate(points.detach(), centers.detach(), projected, NEIGHBORS)  # (B, N, 1536)
        x = mixed.flatten(0, 1) + pointwise(conv1, points.reshape(-1, 3), slice(0, 3))
        x = F.relu(self.mlp_bns[0](x))
        return F.relu(self.mlp_bns[1](pointwise(conv2, x)))


class Segmenter(nn.Module):
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
    ) -> None:
        super().__init__()
        blocks = list(feature_blocks) if feature_blocks else even_blocks(depth)
        if not 1 <= min(blocks) <= max(blocks) <= depth:
            raise ValueError(f"feature_blocks = {blocks}; allowed are 1 to {depth}, the encoder's blocks")
        if len(head_widths) != 4:
            raise ValueError(f"head_widths = {list(head_widths)}; four widths are needed")
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__", "blocks")}
        self.config: dict[str, Any] = {**arguments, "feature_blocks": blocks, "head_widths": list(head_widths)}
        self.classes, self.categories = classes, categories
        self.patches, self.patch_size, self.width = patches, patch_size, width
        self.feature_blocks = tuple(blocks)
        self.encoder = PointEncoder(
            width, depth, heads, drop_path, class_token=False, embed_width=embed_width, normed_residual=normed_residual
        )
        joined, (first, local, hidden, last) = width * len(blocks), head_widths
        self.local_width = local
        self.label_conv_cls = (
            nn.Sequential(
                nn.Conv1d(categories, CATEGORY_WIDTH, 1, bias=False), nn.BatchNorm1d(CATEGORY_WIDTH), nn.LeakyReLU(0.2)
            )
            if categories
            else None
        )
        self.propagation_0_cls = Propagation(joined, (first, local))
        self.convs1_cls = nn.Conv1d(local + 2 * joined + (CATEGORY_WIDTH if categories else 0), hidden, 1)
        self.convs2_cls = nn.Conv1d(hidden, last, 1)
        self.convs3_cls = nn.Conv1d(last, classes, 1)
        self.bns1_cls, self.bns2_cls = nn.BatchNorm1d(hidden), nn.BatchNorm1d(last)
        self.dropout = nn.Dropout(dropout)

    def patchify(self, points: Points) -> Patches:
        """Cut points (B, N, 3), or whatever `act3d.use.points` makes points of, into this model's patches."""
        return as_patches(points, self, self.patches, self.patch_size)

    def level_features(self, patches: Patches) -> torch.Tensor:
        """Features (B, G, 3 C) of every patch after each of the feature blocks, normed and joined."""
        x = self.encoder.embed_patches(patches.neighborhoods)
        pos = self.encoder.pos_embed(patches.centers)
        kept = []
        for number, block in enumerate(self.encoder.blocks, start=1):
            x = block(x + pos)
            if number in self.feature_blocks:
                kept.append(self.encoder.norm(x))
        return torch.cat(kept, dim=2)

    def forward(self, points: Points, category: Any = None) -> Any:
        """Logits of every point.

        Args:
            points: Tensor with shape (B, N, 3), or anything else that `act3d.use.points` makes points of.
            category: int64 Tensor (B,), each in [0, categories), or an array, list or number; for parts only.

        Returns:
            Tensor with shape (B, N, K); of a list of clouds of different sizes a list of Tensors (N, K).

        Raises:
            InputError: The category is missing, unfit, or given to a segmenter of scenes.
        """
        at_least = max(self.patches, self.patch_size)
        on_device = category is None or (isinstance(category, torch.Tensor) and category.is_cuda)
        if on_device and is_batch(points, at_least):  # as training gives it: nothing is looked at
            return self._logits(points.to(self.convs3_cls.weight), category)
        chosen = None if category is None else self._categories(category)

        def label(cloud: torch.Tensor, places: list[int]) -> torch.Tensor:
            if chosen is not None and max(places) >= len(chosen):
                raise InputError(f"category has {len(chosen)} entries, fewer than there are clouds")
            return self._logits(cloud, None if chosen is None else chosen[places])

        return per_point(points, self, at_least, label)

    def _categories(self, category: Any) -> torch.Tensor:
        """Categories as int64 (B,), checked."""
        chosen = torch.as_tensor(category, device=self.convs3_cls.weight.device).reshape(-1)
        if chosen.is_floating_point() or chosen.dtype == torch.bool:
            raise InputError(f"category has dtype {chosen.dtype}; expected whole numbers")
        if self.categories and (int(chosen.min()) < 0 or int(chosen.max()) >= self.categories):
            raise InputError(f"category {chosen.tolist()} is not within 0 to {self.categories - 1}")
        return chosen.long()

    def _logits(self, points: torch.Tensor, category: torch.Tensor | None) -> torch.Tensor:
        """Points (B, N, 3) with N >= G, M and category (B,) -> logits (B, N, K)."""
        patches = self.patchify(points)
        features = self.level_features(patches)  # (B, G, 3 C)
        whole = self._whole(features, category)  # (B, 6 C [+ 64])
        local = self.propagation_0_cls(points, patches.centers, features)  # (B N, 1024)
        # W [local, whole] = W_local local + W_whole whole; the second once a cloud
        x = pointwise(self.convs1_cls, local, slice(0, self.local_width), bias=False)
        shared = pointwise(self.convs1_cls, whole, slice(self.local_width, None))
        x = (x.view(*points.shape[:2], -1) + shared.unsqueeze(1)).flatten(0, 1)  # (B N, 512)
        x = self.dropout(F.relu(self.bns1_cls(x)))
        x = F.relu(self.bns2_cls(pointwise(self.convs2_cls, x)))
        return pointwise(self.convs3_cls, x).view(*points.shape[:2], self.classes)

    def _whole(self, features: torch.Tensor, category: torch.Tensor | None) -> torch.Tensor:
        """What is known of the cloud as a whole: maximum and mean over patches, and its category."""
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

    def start_from(self, source: nn.Module) -> list[str]:
        """Take over the encoder of a pretrained model: a student of any method, a classifier, another segmenter.

        Returns:
            Names of the encoder's parameters that the source does not have.

        Raises:
            InputError: The source has no point encoder, or one of another size.
        """
        encoder = getattr(source, "encoder", None)
        if not isinstance(encoder, PointEncoder):
            raise InputError(f"a {getattr(source, 'kind', type(source).__name__)!r} has no point encoder to start from")
        if encoder.config != self.encoder.config:
            raise InputError(f"the encoder to start from is {encoder.config}; this one is {self.encoder.config}")
        own, theirs = self.encoder.state_dict(), encoder.state_dict()
        # The class token is left behind: segmenters have none.
        self.encoder.load_state_dict({name: theirs.get(name, value) for name, value in own.items()})
        return [name for name in own if name not in theirs]

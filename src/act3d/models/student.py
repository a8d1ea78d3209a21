"""Stage II of ACT: the masked student that learns to predict the teacher's features."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from act3d.errors import InputError
from act3d.geometry import Patches, gather
from act3d.kernels.linear import Linear
from act3d.losses import build_loss
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import count_hidden, split
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.transformer import Block, drop_path_rates, position_mlp
from act3d.use.points import Mask, Points, as_mask, as_patches


class Encoded(NamedTuple):
    """cls (B, 1, C) and patches (B, G, C), both normed; shallow (B, G, C): patches after the shallow block, or None.

    An encoder without a class token gives the mean over patches as cls.
    """

    cls: torch.Tensor
    patches: torch.Tensor
    shallow: torch.Tensor | None


class StudentOutput(NamedTuple):
    """visible (B, V, C): encoder features of what was seen; predicted (B, H, D): the teacher's features at `hidden`
    (B, H), patch indices in ascending order; predicted_cls: the second prediction of `cls_loss`, or None."""

    visible: torch.Tensor
    predicted: torch.Tensor
    hidden: torch.Tensor
    predicted_cls: torch.Tensor | None


class NormedResidualBlock(Block):
    """A block of ReCon (Qi et al., 2023): what attention and MLP give is added to the normed tokens."""

    def forward(
        self, x: torch.Tensor, prefix: torch.Tensor | None = None, pair: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.norm1(x)
        x = x + self.drop_path(self.attn(x, prefix, pair))
        x = self.norm2(x)
        return x + self.drop_path(self.mlp(x))


class PointEncoder(nn.Module):
    """The 3D Transformer that all downstream tasks use: patches -> features of a class token and of every patch.

    Args:
        width: C, a multiple of heads.
        depth: Blocks.
        heads: Attention heads.
        drop_path: Rate of the last block; earlier ones rise to it from 0.
        class_token: Put a class token in front (Point-MAE has none).
        embed_width: Width of the patch embedding, if a linear layer takes it to `width` (Point-BERT); None = no layer.
        normed_residual: Blocks add to what they have normed (ReCon).
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        class_token: bool = True,
        embed_width: int | None = None,
        normed_residual: bool = False,
    ) -> None:
        super().__init__()
        # What a downstream model needs to build the same encoder; drop-path and class token are its own choice.
        self.config: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "heads": heads,
            "embed_width": embed_width,
            "normed_residual": normed_residual,
        }
        self.width = width
        self.patch_embedding = PatchEmbedding(embed_width or width)
        self.reduce = Linear(embed_width, width) if embed_width else None
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.cls_pos = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.pos_embed = position_mlp(width)
        block = NormedResidualBlock if normed_residual else Block
        self.blocks = nn.ModuleList(
            block(width, heads, qkv_bias=False, drop_path=rate) for rate in drop_path_rates(depth, drop_path)
        )
        self.norm = nn.LayerNorm(width)
        self.apply(init_weights)
        if self.cls_token is not None and self.cls_pos is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
            nn.init.trunc_normal_(self.cls_pos, std=0.02)

    def embed_patches(self, neighborhoods: torch.Tensor) -> torch.Tensor:
        """Neighborhoods (B, G, M, 3) -> tokens of the Transformer (B, G, C)."""
        tokens = self.patch_embedding(neighborhoods)
        return tokens if self.reduce is None else self.reduce(tokens)

    def run_blocks(self, tokens: torch.Tensor, centers: torch.Tensor, shallow_block: int | None = None) -> Encoded:
        """Tokens (B, V, C) of patches at centers (B, V, 3), behind the class token, through all blocks."""
        x, pos = tokens, self.pos_embed(centers)
        first = 0
        if self.cls_token is not None and self.cls_pos is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + V, C)
            pos = torch.cat([self.cls_pos.expand(x.shape[0], -1, -1), pos], dim=1)
            first = 1
        shallow = None
        for number, block in enumerate(self.blocks, start=1):
            x = block(x + pos)
            if number == shallow_block:
                shallow = x[:, first:]
        x = self.norm(x)
        return Encoded(x[:, :1] if first else x.mean(dim=1, keepdim=True), x[:, first:], shallow)

    def forward(
        self,
        patches: Patches,
        visible: torch.Tensor | None = None,
        embed_visible_only: bool = False,
        shallow_block: int | None = None,
    ) -> Encoded:
        """Encode all patches, or the visible ones.

        Args:
            patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.
            visible: int64 (B, V) indices of the patches to encode; all by default.
            embed_visible_only: Embed only these as well. Faster; the patch embedding's batch statistics then come
                from them alone. By default all patches are embedded, as in the release.
            shallow_block: Also return the patches after this many blocks.
        """
        neighborhoods, centers = patches
        if visible is not None:
            centers = gather(centers, visible)
            if embed_visible_only:
                batch, _, size, _ = neighborhoods.shape
                neighborhoods = gather(neighborhoods.flatten(2), visible).view(batch, -1, size, 3)
        tokens = self.embed_patches(neighborhoods)
        if visible is not None and not embed_visible_only:
            tokens = gather(tokens, visible)
        return self.run_blocks(tokens, centers, shallow_block)


class StudentDecoder(nn.Module):
    """A few blocks that fill in hidden patches from visible ones: (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, depth: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=False, drop_path=rate) for rate in drop_path_rates(depth, drop_path)
        )
        self.norm = nn.LayerNorm(width)
        self.apply(init_weights)

    def forward(self, x: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
        """All tokens through the blocks, their positions added before each."""
        for block in self.blocks:
            x = block(x + pos)
        return self.norm(x)


class Student(nn.Module):
    """Masked student (ACT, section 3.3): encode the visible patches, predict the teacher's features at the hidden ones.

    Args:
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        width, depth, heads, drop_path: Of the encoder.
        decoder_depth, decoder_heads: Of the decoder, which is as wide as the encoder.
        teacher_width: D, width of the features to predict.
        cls_loss: Predict a second time, from the class token and the patches after `shallow_block` blocks.
        shallow_block: See `cls_loss`.
        embed_visible_only: Embed hidden patches not at all; see `PointEncoder.forward`.
        teacher: Config of an autoencoder that this student carries along (released files hold theirs), so that it
            can compute its own loss. In training the teacher stays outside, and out of the student's checkpoint.
    """

    kind: ClassVar[str] = "student"

    def __init__(
        self,
        patches: int = 64,
        patch_size: int = 32,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        decoder_depth: int = 2,
        decoder_heads: int = 6,
        teacher_width: int = 384,
        cls_loss: bool = False,
        shallow_block: int = 10,
        embed_visible_only: bool = False,
        teacher: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if cls_loss and not 1 <= shallow_block <= depth:
            raise ValueError(f"shallow_block = {shallow_block}; allowed are 1 to {depth}, the encoder's blocks")
        self.patches, self.patch_size, self.width = patches, patch_size, width
        self.shallow_block = shallow_block if cls_loss else None
        self.embed_visible_only = embed_visible_only
        self.encoder = PointEncoder(width, depth, heads, drop_path)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.decoder_pos_embed = position_mlp(width)
        self.decoder_cls_pos = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02)) if cls_loss else None
        )
        self.decoder = StudentDecoder(width, decoder_depth, decoder_heads, drop_path)
        self.head = Linear(width, teacher_width)
        self.decoder_pos_embed.apply(init_weights)
        self.head.apply(init_weights)
        self.teacher = None if teacher is None else Autoencoder(**teacher).requires_grad_(False)

    def patchify(self, points: Points) -> Patches:
        """Cut points (B, N, 3), or whatever `act3d.use.points` makes points of, into this model's patches."""
        return as_patches(points, self, self.patches, self.patch_size)

    def forward(self, patches: Patches, mask: torch.Tensor, hidden: int) -> StudentOutput:
        """Predict the teacher's features at hidden patches.

        Args:
            patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.
            mask: bool (B, G), True = hidden.
            hidden: How many are, in every cloud. With 0 there is no decoder: every patch's own feature predicts.
        """
        visible_index, hidden_index = split(mask, hidden)
        if hidden == 0:
            encoded = self.encoder(patches)
            return StudentOutput(encoded.patches, self.head(encoded.patches), visible_index, None)
        encoded = self.encoder(patches, visible_index, self.embed_visible_only, self.shallow_block)
        pos = self.decoder_pos_embed(patches.centers)
        pos = torch.cat([gather(pos, visible_index), gather(pos, hidden_index)], dim=1)
        predicted = self._decode(encoded.patches, pos, hidden)
        predicted_cls = None
        if encoded.shallow is not None and self.decoder_cls_pos is not None:
            # The shallow patches know little of the whole, so the class token has to.
            front = torch.cat([encoded.cls, encoded.shallow], dim=1)
            predicted_cls = self._decode(
                front, torch.cat([self.decoder_cls_pos.expand(len(pos), -1, -1), pos], dim=1), hidden
            )
        return StudentOutput(encoded.patches, predicted, hidden_index, predicted_cls)

    def _decode(self, seen: torch.Tensor, pos: torch.Tensor, hidden: int) -> torch.Tensor:
        """What was seen (B, V, C), then a mask token for every hidden patch -> predictions (B, H, D)."""
        tokens = torch.cat([seen, self.mask_token.expand(seen.shape[0], hidden, -1)], dim=1)
        return self.head(self.decoder(tokens, pos)[:, -hidden:])

    # ------------------------------------------------------------------ use after training

    @torch.no_grad()
    def patch_features(self, points: Points) -> torch.Tensor:
        """Points (B, N, 3) -> encoder features of every patch (B, G, C), nothing hidden."""
        return self.encoder(self.patchify(points)).patches

    def predict(self, points: Points, mask: Mask) -> torch.Tensor:
        """Points (B, N, 3), mask (B, G), True = hidden -> predicted teacher features (B, H, D), patches ascending."""
        patches = self.patchify(points)
        mask = as_mask(mask, patches)
        return self(patches, mask, count_hidden(mask, patches.centers)).predicted

    def loss(self, points: Points, mask: Mask, kind: str = "cosine") -> torch.Tensor:
        """Loss of this student against the teacher it carries.

        Args:
            points: Tensor with shape (B, N, 3).
            mask: bool Tensor or array with shape (B, G), True = hidden, the same count in every cloud.
            kind: A name of `act3d.losses.LOSSES`; checkpoints do not say which one they were trained with.

        Raises:
            InputError: This student carries no teacher, or the mask is unfit.
        """
        if self.teacher is None:
            raise InputError("this student carries no teacher: its checkpoint holds the student alone")
        patches = self.patchify(points)
        mask = as_mask(mask, patches)
        output = self(patches, mask, count_hidden(mask, patches.centers))
        with torch.no_grad():
            target = gather(self.teacher.features(patches), output.hidden)
        return distillation_loss(build_loss(kind), output, target)

    @torch.no_grad()
    def embed(self, points: Points) -> torch.Tensor:
        """Points (B, N, 3) -> one vector a cloud (B, 2C): class token, then the maximum over patches."""
        encoded = self.encoder(self.patchify(points))
        return torch.cat([encoded.cls[:, 0], encoded.patches.amax(dim=1)], dim=1)


def distillation_loss(loss: nn.Module, output: StudentOutput, target: torch.Tensor) -> torch.Tensor:
    """A loss on the prediction, plus the same on the second prediction of `cls_loss`, if there is one: scalar."""
    total: torch.Tensor = loss(output.predicted, target)
    return total if output.predicted_cls is None else total + loss(output.predicted_cls, target)


def init_weights(module: nn.Module) -> None:
    """Truncated normal of standard deviation 0.02 for weights, zero for biases, as in the release."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

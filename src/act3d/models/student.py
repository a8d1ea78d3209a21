"""Stage II of ACT: the masked student that learns to predict the teacher's features."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from act3d.geometry import Patches, gather
from act3d.kernels.linear import Linear
from act3d.models.autoencoder import Autoencoder
from act3d.models.encoder import EncoderModel, PointEncoder
from act3d.models.masking import split
from act3d.models.text_head import build_text_head
from act3d.models.transformer import Block, drop_path_rates, init_weights, position_mlp


class StudentOutput(NamedTuple):
    """visible (B, V, C): encoder features of what was seen; predicted (B, H, D): the teacher's features at `hidden`
    (B, H), patch indices in ascending order; predicted_cls: the second prediction of `cls_loss`, or None."""

    visible: torch.Tensor
    predicted: torch.Tensor
    hidden: torch.Tensor
    predicted_cls: torch.Tensor | None


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


class Student(EncoderModel):
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
        alignment: Arguments of the `TextHead` of a student that learns from names as well; None = no head.
        channels: What points have beside x, y and z, see `PointEncoder`.
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
        alignment: dict[str, Any] | None = None,
        channels: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__", "channels")}
        if channels:
            self.config["channels"] = list(channels)
        if cls_loss and not 1 <= shallow_block <= depth:
            raise ValueError(f"shallow_block = {shallow_block}; allowed are 1 to {depth}, the encoder's blocks")
        self.patches, self.patch_size, self.width = patches, patch_size, width
        self.shallow_block = shallow_block if cls_loss else None
        self.embed_visible_only = embed_visible_only
        self.encoder = PointEncoder(width, depth, heads, drop_path, channels=channels)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.decoder_pos_embed = position_mlp(width)
        self.decoder_cls_pos = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02)) if cls_loss else None
        )
        self.decoder = StudentDecoder(width, decoder_depth, decoder_heads, drop_path)
        self.head = Linear(width, teacher_width)
        self.decoder_pos_embed.apply(init_weights)
        self.head.apply(init_weights)
        self.alignment = build_text_head(alignment, 2 * width)
        self.teacher = None if teacher is None else Autoencoder(**teacher).requires_grad_(False)

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

    def loss(self, output: StudentOutput, features: torch.Tensor, criterion: nn.Module) -> torch.Tensor:
        """Loss of the predictions against the teacher's features (ACT, section 3.3): scalar.

        Args:
            output: What `forward` gave.
            features: The teacher's features (B, G, D) of all patches.
            criterion: A loss of `act3d.losses`; with `cls_loss` the second prediction adds the same loss once more.
        """
        target = gather(features, output.hidden)  # (B, H, D)
        total: torch.Tensor = criterion(output.predicted, target)
        return total if output.predicted_cls is None else total + criterion(output.predicted_cls, target)

"""Point-MAE (Pang et al., 2022): the masked autoencoder on coordinates, the baseline that ACT is held against."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from act3d.geometry import Patches, chamfer, gather
from act3d.models.encoder import EncoderModel, PointEncoder
from act3d.models.masking import split
from act3d.models.student import StudentDecoder
from act3d.models.text_head import build_text_head
from act3d.models.transformer import init_weights, position_mlp


class PointMAEOutput(NamedTuple):
    """points (B, H, M, 3): hidden patches in their own coordinates; hidden (B, H): patch indices in ascending order."""

    points: torch.Tensor
    hidden: torch.Tensor


class PointMAE(EncoderModel):
    """Encode the visible patches, rebuild the points of the hidden ones. No teacher, no class token.

    Args:
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        width, depth, heads, drop_path: Of the encoder.
        decoder_depth, decoder_heads: Of the decoder, which is as wide as the encoder.
        embed_visible_only: Embed hidden patches not at all; see `PointEncoder.forward`.
        alignment: Arguments of the `TextHead` of a model that learns from names as well; None = no head.
        channels: What points have beside x, y and z, see `PointEncoder`; x, y and z are rebuilt.
    """

    kind: ClassVar[str] = "point_mae"

    def __init__(
        self,
        patches: int = 64,
        patch_size: int = 32,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        decoder_depth: int = 4,
        decoder_heads: int = 6,
        embed_visible_only: bool = False,
        alignment: dict[str, Any] | None = None,
        channels: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__", "channels")}
        if channels:
            self.config["channels"] = list(channels)
        self.patches, self.patch_size, self.width = patches, patch_size, width
        self.embed_visible_only = embed_visible_only
        self.encoder = PointEncoder(width, depth, heads, drop_path, class_token=False, channels=channels)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.decoder_pos_embed = position_mlp(width)
        self.decoder = StudentDecoder(width, decoder_depth, decoder_heads, drop_path)
        self.decoder.apply(_xavier)
        self.head = nn.Linear(width, 3 * patch_size)
        self.decoder_pos_embed.apply(init_weights)
        self.head.apply(init_weights)
        self.alignment = build_text_head(alignment, 2 * width)

    def forward(self, patches: Patches, mask: torch.Tensor, hidden: int) -> PointMAEOutput:
        """Rebuild hidden patches.

        Args:
            patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.
            mask: bool (B, G), True = hidden.
            hidden: How many are, in every cloud; 1 at least.
        """
        visible_index, hidden_index = split(mask, hidden)
        seen = self.encoder(patches, visible_index, self.embed_visible_only).patches
        return PointMAEOutput(self.rebuild(seen, patches.centers, visible_index, hidden_index), hidden_index)

    def rebuild(
        self, seen: torch.Tensor, centers: torch.Tensor, visible_index: torch.Tensor, hidden_index: torch.Tensor
    ) -> torch.Tensor:
        """What was seen (B, V, C) of patches at centers (B, G, 3) -> points (B, H, M, 3) of the hidden ones."""
        decoded = self.decode(seen, centers, visible_index, hidden_index)  # (B, H, 3M)
        return decoded.view(*hidden_index.shape, self.patch_size, 3)

    def decode(
        self, seen: torch.Tensor, centers: torch.Tensor, visible_index: torch.Tensor, hidden_index: torch.Tensor
    ) -> torch.Tensor:
        """What was seen (B, V, C) of patches at centers (B, G, 3) -> the head's outputs (B, H, D) for the hidden."""
        batch, hidden = hidden_index.shape
        pos = self.decoder_pos_embed(centers)
        pos = torch.cat([gather(pos, visible_index), gather(pos, hidden_index)], dim=1)
        tokens = torch.cat([seen, self.mask_token.expand(batch, hidden, -1)], dim=1)
        decoded: torch.Tensor = self.head(self.decoder(tokens, pos)[:, -hidden:])
        return decoded

    def loss(self, patches: Patches, output: PointMAEOutput) -> torch.Tensor:
        """Chamfer L2 between hidden patches and their rebuilt points, each in its own coordinates: scalar."""
        places = patches.neighborhoods[..., :3]  # (B, G, M, 3)
        truth = gather(places.flatten(2), output.hidden).view_as(output.points)
        return chamfer(output.points.flatten(0, 1), truth.flatten(0, 1), norm=2)


def _xavier(module: nn.Module) -> None:
    """The decoder's start in Point-MAE."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

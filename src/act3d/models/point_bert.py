"""The Point-BERT-style student (Yu et al., 2022): it guesses the codes that a tokenizer gives to hidden patches."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from act3d.geometry import Patches
from act3d.models.encoder import Encoded, EncoderModel, PointEncoder
from act3d.models.text_head import build_text_head
from act3d.models.transformer import init_weights


class PointBERTOutput(NamedTuple):
    """logits (B, G, K): scores of all codes for every patch; contrast (B, E): what is compared between clouds."""

    logits: torch.Tensor
    contrast: torch.Tensor


class PointBERT(EncoderModel):
    """A point encoder that sees a mask token where a patch is hidden, with a head for codes and one for contrast.

    Args:
        patches: G, patches a cloud is cut into: the tokenizer's.
        patch_size: M, points a patch: the tokenizer's.
        width, depth, heads, drop_path: Of the encoder.
        embed_width: Width of the patch embedding; None = as wide as the encoder, without a layer between them.
        codes: K, codes of the tokenizer.
        contrast_width: E, width of the contrast head.
        alignment: Arguments of the `TextHead` of a model that learns from names as well; None = no head.
    """

    kind: ClassVar[str] = "point_bert"

    def __init__(
        self,
        patches: int = 64,
        patch_size: int = 32,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        embed_width: int | None = None,
        codes: int = 8192,
        contrast_width: int = 512,
        alignment: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.patches, self.patch_size, self.width = patches, patch_size, width
        self.encoder = PointEncoder(width, depth, heads, drop_path, embed_width=embed_width)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.code_head = nn.Linear(width, codes)
        self.contrast_head = nn.Sequential(
            nn.Linear(width, contrast_width), nn.GELU(), nn.Linear(contrast_width, contrast_width)
        )
        self.code_head.apply(init_weights)
        self.contrast_head.apply(init_weights)
        self.alignment = build_text_head(alignment, 2 * width)

    def forward(self, patches: Patches, mask: torch.Tensor) -> PointBERTOutput:
        """Score the codes of all patches and describe the cloud.

        Args:
            patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.
            mask: bool (B, G), True = hidden; clouds may hide different numbers of patches.
        """
        encoded = self.encode(patches, mask)
        return PointBERTOutput(self.code_head(encoded.patches), self.contrast_head(encoded.cls[:, 0]))

    def encode(self, patches: Patches, mask: torch.Tensor) -> Encoded:
        """Class token (B, 1, C) and patches (B, G, C) with a mask token in place of each hidden one."""
        tokens = self.encoder.embed_patches(patches.neighborhoods)
        return self.encoder.run_blocks(torch.where(mask.unsqueeze(2), self.mask_token, tokens), patches.centers)

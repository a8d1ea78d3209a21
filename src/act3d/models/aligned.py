"""A point encoder that lives with texts: its features are projected to where a frozen text Transformer puts words."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from act3d.geometry import Patches
from act3d.models.encoder import EncoderModel, PointEncoder
from act3d.models.text_head import TextHead


class Aligned(EncoderModel):
    """Patches -> a unit vector beside those of texts: [class token (mean over patches without one), maximum over
    patches] through a `TextHead`. `embed` stays what it is for every encoder: the features before the projection.

    Args:
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        width, depth, heads, drop_path, embed_width, normed_residual, class_token: Of the encoder, see `PointEncoder`.
        hidden, text_width, temperature, threshold, memory, examples: Of the head, see `TextHead`.
        channels: What points have beside x, y and z, see `PointEncoder`.
    """

    kind: ClassVar[str] = "aligned"
    alignment: TextHead

    def __init__(
        self,
        patches: int = 64,
        patch_size: int = 32,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        embed_width: int | None = None,
        normed_residual: bool = False,
        class_token: bool = True,
        hidden: int = 512,
        text_width: int = 384,
        temperature: float = 0.07,
        threshold: float = 0.95,
        memory: int = 0,
        examples: int = 0,
        channels: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__", "channels")}
        if channels:
            self.config["channels"] = list(channels)
        self.patches, self.patch_size, self.width = patches, patch_size, width
        self.encoder = PointEncoder(width, depth, heads, drop_path, class_token, embed_width, normed_residual, channels)
        self.alignment = TextHead(2 * width, hidden, text_width, temperature, threshold, memory, examples)

    def forward(self, patches: Patches) -> torch.Tensor:
        """Patches of clouds -> unit vectors (B, D) among texts."""
        return self.among_texts(patches)

"""A point encoder that lives with texts: its features are projected to where a frozen text Transformer puts words."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry import Patches
from act3d.losses.contrastive import MultiPositiveContrast
from act3d.models.encoder import EncoderModel, PointEncoder, init_weights


class Aligned(EncoderModel):
    """Patches -> a unit vector beside those of texts (after CLIP, Radford et al., 2021, with a frozen text side).

    [class token (mean over patches without one), maximum over patches] -> hidden -> unit vector. `embed` stays what it
    is for every encoder: the features before the projection.

    Texts come as vectors of the frozen text encoder; `place_texts` moves them to where the training texts have their
    mean at 0. That mean is stored with the weights, so the text side can be had again.

    Args:
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        width, depth, heads, drop_path, embed_width, normed_residual, class_token: Of the encoder, see `PointEncoder`.
        hidden: Channels between the two layers of the projection.
        text_width: D, width of the text encoder's vectors.
        temperature, threshold: Of the contrast, see `MultiPositiveContrast`; the temperature is learnt.
    """

    kind: ClassVar[str] = "aligned"
    text_mean: torch.Tensor

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
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.patches, self.patch_size, self.width, self.text_width = patches, patch_size, width, text_width
        self.encoder = PointEncoder(width, depth, heads, drop_path, class_token, embed_width, normed_residual)
        self.projection = nn.Sequential(nn.Linear(2 * width, hidden), nn.GELU(), nn.Linear(hidden, text_width))
        self.projection.apply(init_weights)
        self.contrast = MultiPositiveContrast(temperature, threshold)
        self.register_buffer("text_mean", torch.zeros(text_width))

    def forward(self, patches: Patches) -> torch.Tensor:
        """Patches of clouds -> unit vectors (B, D) among texts."""
        return F.normalize(self.projection(self.embed(patches)), dim=1)

    def place_texts(self, vectors: torch.Tensor) -> torch.Tensor:
        """The text encoder's vectors (T, D) -> unit vectors (T, D) among shapes."""
        return F.normalize(vectors.to(self.text_mean) - self.text_mean, dim=1)

    def scores(self, shapes: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Logits (B, T): cosines of unit vectors (B, D) and (T, D), divided by the learnt temperature."""
        return self.contrast.scale * shapes @ texts.T

"""The part of a model that puts its clouds beside texts, as a frozen text Transformer places words."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from act3d.losses.contrastive import MultiPositiveContrast


class TextSide(nn.Module):
    """Where texts are, among clouds.

    Texts come as vectors of the frozen text encoder; `place_texts` moves them to where the training texts have their
    mean at 0. That mean is stored with the weights, so the text side can be had again.

    Args:
        text_width: D, width of the text encoder's vectors.
        temperature, threshold: Of the contrast, see `MultiPositiveContrast`.
    """

    text_mean: torch.Tensor

    def __init__(self, text_width: int = 384, temperature: float = 0.07, threshold: float = 0.95) -> None:
        super().__init__()
        self.text_width = text_width
        self.contrast = MultiPositiveContrast(temperature, threshold)
        self.register_buffer("text_mean", torch.zeros(text_width))

    def place_texts(self, vectors: torch.Tensor) -> torch.Tensor:
        """The text encoder's vectors (T, D) -> unit vectors (T, D) among shapes."""
        return F.normalize(vectors.to(self.text_mean) - self.text_mean, dim=1)

    def scores(self, shapes: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Logits (B, T): cosines of unit vectors (B, D) and (T, D), divided by the temperature."""
        return self.contrast.scale * shapes @ texts.T


class TextHead(TextSide):
    """Features of clouds -> unit vectors beside those of texts (after CLIP, Radford et al., 2021; frozen text side).

    Args:
        features: Channels of a cloud's features.
        hidden: Channels between the two layers of the projection.
        text_width, temperature, threshold: See `TextSide`; the temperature is learnt.
    """

    def __init__(
        self,
        features: int,
        hidden: int = 512,
        text_width: int = 384,
        temperature: float = 0.07,
        threshold: float = 0.95,
    ) -> None:
        super().__init__(text_width, temperature, threshold)
        self.projection = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, text_width))
        for layer in self.projection:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of clouds (B, F) -> unit vectors (B, D) among texts."""
        return F.normalize(self.projection(features), dim=1)

    def take_over(self, source: object) -> bool:
        """Take over the projection and temperature of another head of this size; False where that is none.

        The mean of texts stays one's own: it is that of the texts that are learnt.
        """
        if not isinstance(source, TextHead):
            return False
        own, theirs = ([value.shape for value in side.projection.parameters()] for side in (self, source))
        if own != theirs:
            return False
        self.projection.load_state_dict(source.projection.state_dict())
        self.contrast.load_state_dict(source.contrast.state_dict())
        return True


def build_text_head(config: dict[str, Any] | None, features: int) -> TextHead | None:
    """The head of a model that learns names beside something else: `TextHead`'s arguments, or None for no head."""
    return None if config is None else TextHead(features, **config)

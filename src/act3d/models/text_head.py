"""The part of a model that puts its clouds beside texts, as a frozen text Transformer places words."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from act3d.losses.contrastive import MultiPositiveContrast
from act3d.models.transformer import init_weights

# Of a memory (docs/results/protocol.md). A calmer scale makes words right about as often as they are likely.
COMPONENTS = 128  # principal components of features, in which examples are compared
NEARNESS = 40.0  # what cosines of these are multiplied by, before a softmax says how much each example counts
EXAMPLES_SHARE, EXAMPLES_CALMER = 1 / 3, 0.7  # how far a shape is moved to what examples like it are called
SHARPER = 2.0  # than in training: so much surer is a shape of the texts it resembles, where there are no examples
TEXTS_SHARE, TEXTS_CALMER = 1 / 2, 0.6


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

    @property
    def scale(self) -> torch.Tensor:
        """What cosines are multiplied by before a softmax makes probabilities of them: the inverse temperature."""
        return self.contrast.scale

    def scores(self, shapes: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Logits (B, T): cosines of unit vectors (B, D) and (T, D), times `scale`."""
        return self.scale * shapes @ texts.T


class TextHead(TextSide):
    """Features of clouds -> unit vectors beside those of texts (after CLIP, Radford et al., 2021; frozen text side).

    In use, a head that remembers training clouds (examples) moves a shape a third of the way to what those like it are
    called (after Tip-Adapter, Zhang et al., ECCV 2022, whose cache holds labels): shapes and texts lie apart, and words
    for what was learnt are nearer to its texts. One that remembers texts alone moves it half of the way to the texts
    that it resembles (after ConSE, Norouzi et al., 2014).

    Args:
        features: Channels of a cloud's features.
        hidden: Channels between the two layers of the projection.
        text_width, temperature, threshold: See `TextSide`; the temperature is learnt.
        memory: K, training texts that are remembered.
        examples: E, training clouds that are remembered, each with one of these texts.
    """

    memory: torch.Tensor | None  # (K, D), unit vectors
    examples: torch.Tensor | None  # (E, W), unit vectors: principal components of the clouds' features
    example_texts: torch.Tensor | None  # (E,), rows of the memory
    feature_mean: torch.Tensor | None  # (F,)
    components: torch.Tensor | None  # (F, W)

    def __init__(
        self,
        features: int,
        hidden: int = 512,
        text_width: int = 384,
        temperature: float = 0.07,
        threshold: float = 0.95,
        memory: int = 0,
        examples: int = 0,
    ) -> None:
        super().__init__(text_width, temperature, threshold)
        self.register_buffer("memory", torch.zeros(memory, text_width) if memory else None)
        width = min(COMPONENTS, features, examples)
        self.register_buffer("examples", torch.zeros(examples, width) if examples else None)
        self.register_buffer("example_texts", torch.zeros(examples, dtype=torch.int64) if examples else None)
        self.register_buffer("feature_mean", torch.zeros(features) if examples else None)
        self.register_buffer("components", torch.zeros(features, width) if examples else None)
        self.projection = text_projection(features, hidden, text_width)

    @property
    def scale(self) -> torch.Tensor:
        """The inverse temperature; less with a memory, which raises cosines by more than what is right."""
        calmer = 1.0 if self.memory is None else TEXTS_CALMER if self.examples is None else EXAMPLES_CALMER
        return calmer * self.contrast.scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of clouds (B, F) -> unit vectors (B, D) among texts, as training compares them."""
        return F.normalize(self.projection(features), dim=1)

    def place(self, features: torch.Tensor) -> torch.Tensor:
        """Features of clouds (B, F) -> unit vectors (B, D) among texts, as they are used: see `memory`."""
        shapes: torch.Tensor = self(features)
        if self.memory is None:
            return shapes
        texts = self.memory.to(shapes)
        if self.examples is None:
            logits, share = SHARPER * self.contrast.scale * shapes @ texts.T, TEXTS_SHARE  # (B, K)
        else:
            logits, share = NEARNESS * self._compared(features) @ self.examples.to(shapes).T, EXAMPLES_SHARE  # (B, E)
            texts = texts[self.example_texts]
        told = F.normalize(logits.softmax(dim=1) @ texts, dim=1)
        return F.normalize((1 - share) * shapes + share * told, dim=1)

    @torch.no_grad()
    def remember(self, features: torch.Tensor, texts: torch.Tensor) -> None:
        """Remember clouds by their features (E, F), with rows (E,) of the memory of texts.

        Features are compared by their principal components, each over the square root of its deviation: over the
        deviation itself, those that hardly differ would count as much as any.
        """
        mean = features.double().mean(dim=0)
        _, deviations, axes = torch.linalg.svd(features.double() - mean, full_matrices=False)
        width = min(COMPONENTS, features.shape[1], len(features))
        kept = deviations[:width] > 1e-6 * deviations[0]
        self.feature_mean = mean.to(self.text_mean)
        self.components = torch.where(kept, axes[:width].T / deviations[:width].sqrt(), 0).to(self.text_mean)
        self.examples = self._compared(features.to(self.text_mean))
        self.example_texts = texts.to(self.text_mean.device)

    def _compared(self, features: torch.Tensor) -> torch.Tensor:
        """Features of clouds (B, F) -> unit vectors (B, W), in which clouds are compared."""
        assert self.feature_mean is not None
        assert self.components is not None
        return F.normalize((features - self.feature_mean.to(features)) @ self.components.to(features), dim=1)

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


def text_projection(features: int, hidden: int, text_width: int) -> nn.Sequential:
    """Two layers that take features of clouds (B, F) to where texts are (B, D)."""
    layers = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, text_width))
    return layers.apply(init_weights)


def build_text_head(config: dict[str, Any] | None, features: int) -> TextHead | None:
    """The head of a model that learns names beside something else: `TextHead`'s arguments, or None for no head."""
    return None if config is None else TextHead(features, **config)

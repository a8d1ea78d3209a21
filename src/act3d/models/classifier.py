"""The classifier: a student's encoder over all patches, and a head."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry import Patches
from act3d.models.encoder import Encoded, PointEncoder
from act3d.models.few_weights import FEW, few_config
from act3d.models.recon import ReconEncoder
from act3d.models.text_head import TextHead, text_projection
from act3d.models.transfer import TransferModel
from act3d.models.transformer import init_weights

Head = Literal["mlp3", "mlp2", "linear", "words"]
HEADS: tuple[str, ...] = get_args(Head)


class WordsHead(nn.Module):
    """Features -> logits: cosines of where a cloud is among texts to where classes are, times a scale, plus biases.

    `start_from_words` makes it name clouds as their words do, without any labels; from there all of it is trained
    (after FLYP, Goyal et al., 2023, and Tip-Adapter, Zhang et al., 2022, with the words themselves trained too).

    Args:
        features: Channels of a cloud's features.
        classes: Number of classes.
        hidden: Channels between the two layers of the projection.
        text_width: D, width of the texts' vectors.
    """

    def __init__(self, features: int, classes: int, hidden: int = 512, text_width: int = 384) -> None:
        super().__init__()
        self.projection = text_projection(features, hidden, text_width)
        self.prototypes = nn.Parameter(torch.empty(classes, text_width))  # where classes are
        self.bias = nn.Parameter(torch.zeros(classes))
        self.log_scale = nn.Parameter(torch.zeros(1))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of clouds (B, F) -> logits (B, classes)."""
        shapes = F.normalize(self.projection(features), dim=1)
        return self.log_scale.exp() * shapes @ F.normalize(self.prototypes, dim=1).T + self.bias

    @torch.no_grad()
    def start_from_words(self, head: TextHead, vectors: torch.Tensor) -> None:
        """Begin with another model's place among texts, and with the text encoder's vectors (classes, D) of words."""
        self.projection.load_state_dict(head.projection.state_dict())
        self.prototypes.copy_(head.place_texts(vectors))
        self.log_scale.copy_(head.contrast.log_scale)


class Classifier(TransferModel):
    """Patches -> logits: [class token, maximum over patches] -> head (ACT, section 4.1).

    `transfer` chooses which parameters are trained, see `TransferModel`.

    Args:
        classes: Number of classes.
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        width, depth, heads, drop_path, embed_width, normed_residual: Of the encoder, see `PointEncoder`.
        transfer: Which parameters are trained.
        dropout: In a head of several layers, in training.
        global_tokens: The encoder is ReCon's, with its class, image and text token, whose gradient is not stopped; the
            head reads [class, image and text token, maximum over patches] (ReCon, section 4). The tokens always train.
        channels: What points have beside x, y and z, see `PointEncoder`.
        head: 2C -> 256 -> 256 -> classes with batch norms (mlp3), 2C -> 256 -> classes (mlp2, Point-BERT's),
            2C -> classes (linear), or `WordsHead` (words); by default linear for the transfers linear, lora and
            adapter, else mlp3.
        lora_rank, lora_targets: Of the transfer lora, see `add_lora`.
        adapter_width: Width of the bottlenecks of the transfer adapter.
        hidden: Of the head words, see `WordsHead`.
    """

    kind: ClassVar[str] = "classifier"

    def __init__(
        self,
        classes: int,
        patches: int = 64,
        patch_size: int = 32,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        embed_width: int | None = None,
        normed_residual: bool = False,
        transfer: str = "full",
        dropout: float = 0.5,
        global_tokens: bool = False,
        channels: Sequence[str] = (),
        head: str | None = None,
        lora_rank: int = 4,
        lora_targets: Sequence[str] = ("qkv", "fc1"),
        adapter_width: int = 16,
        hidden: int = 512,
    ) -> None:
        super().__init__()
        left_out = ("self", "__class__", "channels", "head", "hidden", *FEW)
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in left_out and k != "left_out"}
        self.config |= few_config(transfer, lora_rank, lora_targets, adapter_width)
        if channels:
            self.config["channels"] = list(channels)
        if head is not None:
            self.config["head"] = head
        if head == "words":
            self.config["hidden"] = hidden
        if head is not None and head not in HEADS:
            raise ValueError(f"head = {head!r}; allowed are {', '.join(HEADS)}")
        if classes < 2:
            raise ValueError(f"classes = {classes}; a classifier needs at least 2")
        self.classes, self.patches, self.patch_size, self.width = classes, patches, patch_size, width
        if global_tokens:
            if channels:
                raise ValueError(f"channels = {list(channels)}: ReCon's encoder takes x, y and z only")
            if embed_width or not normed_residual:
                raise ValueError("global_tokens = True: ReCon's encoder has normed residuals and no embed_width")
            self.encoder = ReconEncoder(width, depth, heads, drop_path, stop_gradient=False)
        else:
            self.encoder = PointEncoder(width, depth, heads, drop_path, True, embed_width, normed_residual, channels)
        self.set_transfer(transfer, lora_rank, lora_targets, adapter_width)
        features = (4 if global_tokens else 2) * width
        self.head_kind = head or default_head(transfer)
        self.head = _head(self.head_kind, features, classes, dropout, hidden)

    def forward(self, patches: Patches) -> torch.Tensor:
        """Patches of clouds -> logits (B, classes)."""
        return self.head(self.embed(patches))

    def embed(self, patches: Patches) -> torch.Tensor:
        """What the head reads: class token, then the maximum over patches (B, 2C); all of ReCon's tokens (B, 4C)."""
        encoded: Encoded = self.encoder(patches)
        features = self.mixed(encoded.patches, self.beside(patches.neighborhoods))
        return torch.cat([encoded.cls.flatten(1), features.amax(dim=1)], dim=1)


def default_head(transfer: str) -> str:
    """The head that goes with a transfer unless another is asked for."""
    return "linear" if transfer in ("linear", "lora", "adapter") else "mlp3"


def _head(kind: str, features: int, classes: int, dropout: float, hidden: int) -> nn.Module:
    if kind == "words":
        return WordsHead(features, classes, hidden)
    if kind == "linear":
        layers: list[nn.Module] = [nn.Linear(features, classes)]
    elif kind == "mlp2":
        layers = [nn.Linear(features, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, classes)]
    else:
        layers = []
        for inputs in (features, 256):
            layers += [nn.Linear(inputs, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear(256, classes))
    return nn.Sequential(*layers).apply(init_weights)

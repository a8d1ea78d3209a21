"""The classifier: a student's encoder over all patches, and a head."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn

from act3d.geometry import Patches
from act3d.models.encoder import Encoded, PointEncoder, init_weights
from act3d.models.few_weights import FEW, few_config
from act3d.models.recon import ReconEncoder
from act3d.models.transfer import TransferModel

Head = Literal["mlp3", "mlp2", "linear"]
HEADS: tuple[str, ...] = get_args(Head)


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
        head: 2C -> 256 -> 256 -> classes with batch norms (mlp3), 2C -> 256 -> classes (mlp2, Point-BERT's), or
            2C -> classes (linear); by default linear for the transfers linear, lora and adapter, else mlp3.
        lora_rank, lora_targets: Of the transfer lora, see `add_lora`.
        adapter_width: Width of the bottlenecks of the transfer adapter.
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
    ) -> None:
        super().__init__()
        left_out = ("self", "__class__", "channels", "head", *FEW)
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in left_out and k != "left_out"}
        self.config |= few_config(transfer, lora_rank, lora_targets, adapter_width)
        if channels:
            self.config["channels"] = list(channels)
        if head is not None:
            self.config["head"] = head
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
        self.head = _head(head or default_head(transfer), features, classes, dropout)
        self.head.apply(init_weights)

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


def _head(kind: str, features: int, classes: int, dropout: float) -> nn.Sequential:
    if kind == "linear":
        return nn.Sequential(nn.Linear(features, classes))
    if kind == "mlp2":
        return nn.Sequential(nn.Linear(features, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, classes))
    layers: list[nn.Module] = []
    for inputs in (features, 256):
        layers += [nn.Linear(inputs, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(256, classes))

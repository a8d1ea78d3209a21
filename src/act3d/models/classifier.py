"""The classifier: a student's encoder over all patches, and a head."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn

from act3d.channels import width_of
from act3d.geometry import Patches
from act3d.models.encoder import Encoded, EncoderModel, PointEncoder, init_weights
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.recon import ReconEncoder

Transfer = Literal["full", "mlp3", "linear", "side", "bitfit"]
TRANSFERS: tuple[str, ...] = get_args(Transfer)
_TOKENS = ("cls_token", "cls_pos", "global_tokens", "global_pos")


class Classifier(EncoderModel):
    """Patches -> logits: [class token, maximum over patches] -> head (ACT, section 4.1).

    `transfer` chooses which parameters are trained; the class token, its position and the head always are.

    - full: all.
    - mlp3: no others; head 2C -> 256 -> 256 -> classes.
    - linear: no others; head 2C -> classes.
    - side: a second, small patch embedding beside the frozen encoder, mixed into its patches by a learned weight
      (Side-Tuning, Zhang et al., 2020).
    - bitfit: the biases of the encoder (BitFit, Ben Zaken et al., 2022).

    A frozen encoder stays in eval mode whatever `train()` says: no drop-path, and batch norms keep their averages.

    Args:
        classes: Number of classes.
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        width, depth, heads, drop_path, embed_width, normed_residual: Of the encoder, see `PointEncoder`.
        transfer: Which parameters are trained, and which head.
        dropout: In the head of three layers, in training.
        global_tokens: The encoder is ReCon's, with its class, image and text token, whose gradient is not stopped; the
            head reads [class, image and text token, maximum over patches] (ReCon, section 4). The tokens always train.
        channels: What points have beside x, y and z, see `PointEncoder`.
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
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__", "channels")}
        if channels:
            self.config["channels"] = list(channels)
        if transfer not in TRANSFERS:
            raise ValueError(f"transfer = {transfer!r}; allowed are {', '.join(TRANSFERS)}")
        if classes < 2:
            raise ValueError(f"classes = {classes}; a classifier needs at least 2")
        self.classes, self.patches, self.patch_size, self.width = classes, patches, patch_size, width
        self.transfer = transfer
        if global_tokens:
            if channels:
                raise ValueError(f"channels = {list(channels)}: ReCon's encoder takes x, y and z only")
            if embed_width or not normed_residual:
                raise ValueError("global_tokens = True: ReCon's encoder has normed residuals and no embed_width")
            self.encoder = ReconEncoder(width, depth, heads, drop_path, stop_gradient=False)
        else:
            self.encoder = PointEncoder(width, depth, heads, drop_path, True, embed_width, normed_residual, channels)
        self.side: PatchEmbedding | None = None
        if transfer == "side":
            self.side = PatchEmbedding(width, width_of(channels))
            self.side_projection = nn.Linear(width, width, bias=False)
            self.side_alpha = nn.Parameter(torch.zeros(1))  # sigmoid(0): half of each at the start
            self.side.apply(init_weights)
            self.side_projection.apply(init_weights)
        features = (4 if global_tokens else 2) * width
        self.head = _linear_head(features, classes) if transfer == "linear" else _mlp_head(features, classes, dropout)
        self.head.apply(init_weights)
        self._freeze()

    def _freeze(self) -> None:
        for name, parameter in self.encoder.named_parameters():
            trains = self.transfer == "full" or name in _TOKENS
            trains |= self.transfer == "bitfit" and name.endswith("bias")
            parameter.requires_grad_(trains)

    @property
    def frozen(self) -> bool:
        """Whether the encoder, or most of it, is frozen."""
        return self.transfer != "full"

    def train(self, mode: bool = True) -> "Classifier":
        """Switch dropout and batch norms between training and use; those of a frozen encoder stay in use."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, patches: Patches) -> torch.Tensor:
        """Patches of clouds -> logits (B, classes)."""
        return self.head(self.embed(patches))

    def embed(self, patches: Patches) -> torch.Tensor:
        """What the head reads: class token, then the maximum over patches (B, 2C); all of ReCon's tokens (B, 4C)."""
        encoded: Encoded = self.encoder(patches)
        if self.side is not None:
            share = torch.sigmoid(self.side_alpha)
            beside = self.side_projection(self.side(patches.neighborhoods))
            encoded = encoded._replace(patches=share * encoded.patches + (1 - share) * beside)
        return torch.cat([encoded.cls.flatten(1), encoded.patches.amax(dim=1)], dim=1)


def _linear_head(features: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, classes))


def _mlp_head(features: int, classes: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (features, 256):
        layers += [nn.Linear(inputs, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(256, classes))

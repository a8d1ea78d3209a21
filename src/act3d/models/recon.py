"""ReCon (Qi et al., ICML 2023): Point-MAE's student, and global tokens that read it and learn from image and text.

Two streams run side by side. Patches go through Point-MAE's encoder exactly, and are rebuilt where they are hidden. A
class, an image and a text token read the patches in every block by cross-attention with a stopped gradient, so that
what they learn cannot disturb the reconstruction: the last norm is all that both streams share.
"""

from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry import Patches
from act3d.kernels.linear import Linear
from act3d.losses.contrastive import MeanPositiveContrast
from act3d.models.encoder import Encoded, PointEncoder
from act3d.models.masking import split
from act3d.models.point_mae import PointMAE, PointMAEOutput
from act3d.models.text_head import TextSide
from act3d.models.transformer import DropPath, Mlp, drop_path_rates, init_weights

GLOBAL_TOKENS = ("class", "image", "text")
CONTRAST_WIDTH = 128


class ReconOutput(NamedTuple):
    """What a pretraining step gives.

    predicted: points (B, H, M, 3) of hidden patches in their own coordinates, or the teacher's features (B, H, D) of
    these; hidden (B, H): patch indices in ascending order;
    visible (B, V, C): encoder features of what was seen; tokens (B, 3, C): class, image and text token; image (B, Di)
    and text (B, Dt): projections of these; contrast (B, 128): projection of the class token. None without that head.
    """

    predicted: torch.Tensor
    hidden: torch.Tensor
    visible: torch.Tensor
    tokens: torch.Tensor
    image: torch.Tensor | None
    text: torch.Tensor | None
    contrast: torch.Tensor | None


class ReconLosses(NamedTuple):
    """Scalars under the paper's names, to be added up; None where there was nothing to compare with.

    mdm: Chamfer L2 of hidden patches, or distance to the teacher's features. csc_img, csc_text: smooth L1 to the frozen
    encoders' features. smc: contrast of the class token among clouds of the same text.
    """

    mdm: torch.Tensor
    csc_img: torch.Tensor | None
    csc_text: torch.Tensor | None
    smc: torch.Tensor | None

    def total(self) -> torch.Tensor:
        """The sum of all there are: scalar."""
        return sum((loss for loss in self if loss is not None), start=torch.zeros_like(self.mdm))


class CrossAttention(nn.Module):
    """Multi-head attention from a few tokens to patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width, bias=False)
        self.kv = Linear(width, 2 * width, bias=False)
        self.proj = Linear(width, width)

    def forward(self, tokens: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """Tokens (B, T, C), patches (B, V, C) -> (B, T, C)."""
        batch, count, width = tokens.shape
        query = self.q(tokens).view(batch, count, self.heads, -1).transpose(1, 2)  # (B, heads, T, C / heads)
        # (B, V, 2C) -> 2 x (B, heads, V, C / heads)
        key, value = self.kv(patches).view(batch, patches.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))


class Reader(nn.Module):
    """One block of the global tokens' stream; what attention and MLP give is added to the normed tokens."""

    def __init__(self, width: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """Tokens (B, T, C) read patches (B, V, C) -> (B, T, C)."""
        tokens = self.norm1(tokens)
        tokens = tokens + self.drop_path(self.attn(tokens, patches))
        tokens = self.norm2(tokens)
        return tokens + self.drop_path(self.mlp(tokens))


class ReconEncoder(PointEncoder):
    """Point-MAE's encoder with global tokens that read the patches in every block.

    `Encoded.cls` holds all three tokens, (B, 3, C): class, image, text.

    Args:
        width, depth, heads, drop_path: As in `PointEncoder`.
        stop_gradient: No gradient flows from the tokens to the patches: True in pretraining, False in fine-tuning.
    """

    def __init__(
        self, width: int = 384, depth: int = 12, heads: int = 6, drop_path: float = 0.1, stop_gradient: bool = True
    ) -> None:
        super().__init__(width, depth, heads, drop_path, class_token=False, normed_residual=True)
        self.stop_gradient = stop_gradient
        self.global_tokens = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 3, width), std=0.02))
        self.global_pos = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 3, width), std=0.02))
        self.readers = nn.ModuleList(Reader(width, heads, rate) for rate in drop_path_rates(depth, drop_path))
        self.readers.apply(init_weights)

    def run_blocks(self, tokens: torch.Tensor, centers: torch.Tensor, shallow_block: int | None = None) -> Encoded:
        """Tokens (B, V, C) of patches at centers (B, V, 3), and the global tokens beside them, through all blocks."""
        x, pos = tokens, self.pos_embed(centers)
        readings = self.global_tokens.expand(x.shape[0], -1, -1)  # (B, 3, C)
        for block, reader in zip(self.blocks, self.readers, strict=True):
            x, readings = x + pos, readings + self.global_pos
            normed = block.get_submodule("norm1")(x)
            readings = reader(readings, normed.detach() if self.stop_gradient else normed)
            x = block(x)
        return Encoded(self.norm(readings), self.norm(x), None)


class ReCon(PointMAE):
    """Rebuild hidden patches; predict image and text features from global tokens that read the visible ones.

    Args:
        patches, patch_size, width, depth, heads, drop_path, decoder_depth, decoder_heads, embed_visible_only: As in
            `PointMAE`.
        image_width: Di, of the frozen image encoder's feature; None = nothing is learnt from images.
        text_width: Dt, of the frozen text encoder's feature; None = nothing is learnt from texts.
        contrast: Contrast class tokens of clouds with the same text (`smc`; off in the released recipe).
        stop_gradient: See `ReconEncoder`.
        teacher_width: D, of the teacher's features that are predicted at hidden patches; None = points are.
        names: The text token learns where texts are: shapes can be named by any words.
    """

    kind: ClassVar[str] = "recon"

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
        image_width: int | None = 768,
        text_width: int | None = 512,
        contrast: bool = False,
        stop_gradient: bool = True,
        teacher_width: int | None = None,
        names: bool = False,
    ) -> None:
        config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__(
            patches, patch_size, width, depth, heads, drop_path, decoder_depth, decoder_heads, embed_visible_only
        )
        self.config = config
        self.encoder = ReconEncoder(width, depth, heads, drop_path, stop_gradient)
        if teacher_width is not None:
            self.head = nn.Linear(width, teacher_width)
            self.head.apply(init_weights)
        self.teacher_width = teacher_width
        self.image_head = None if image_width is None else Linear(width, image_width)
        self.text_head = None if text_width is None else Linear(width, text_width)
        self.contrast_head = _contrast_head(width) if contrast else None
        if names and text_width is None:
            raise ValueError("names = True needs a text_width; the text token learns them")
        # The temperature is not learnt: smooth L1 has none.
        self.alignment = TextSide(text_width).requires_grad_(False) if names and text_width is not None else None

    def forward(self, patches: Patches, mask: torch.Tensor, hidden: int) -> ReconOutput:  # type: ignore[override]
        """Predict hidden patches, and project what the global tokens have read from the visible ones.

        Args:
            patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.
            mask: bool (B, G), True = hidden.
            hidden: How many are, in every cloud; 1 at least.
        """
        visible_index, hidden_index = split(mask, hidden)
        encoded = self.encoder(patches, visible_index, self.embed_visible_only)
        predict = self.rebuild if self.teacher_width is None else self.decode
        predicted = predict(encoded.patches, patches.centers, visible_index, hidden_index)
        cls, image, text = encoded.cls.unbind(dim=1)  # (B, 3, C) -> 3 x (B, C)
        return ReconOutput(
            predicted,
            hidden_index,
            encoded.patches,
            encoded.cls,
            None if self.image_head is None else self.image_head(image),
            None if self.text_head is None else self.text_head(text),
            None if self.contrast_head is None else self.contrast_head(cls),
        )

    def place_encoded(self, encoded: Encoded) -> torch.Tensor:
        """One unit vector a cloud (B, Dt) beside those of texts: the projected text token."""
        if self.alignment is None or self.text_head is None:
            raise ValueError(f"this {self.kind} learnt no names")
        return F.normalize(self.text_head(encoded.cls[:, 2]), dim=1)

    def losses(
        self,
        patches: Patches,
        output: ReconOutput,
        image: torch.Tensor | None = None,
        text: torch.Tensor | None = None,
        same: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ) -> ReconLosses:
        """The paper's losses for what there is to compare with.

        Args:
            patches: What `output` was made from.
            output: Of `forward`.
            image: Tensor with shape (B, Di), the frozen image encoder's features; None = no image loss.
            text: Tensor with shape (B, Dt), the frozen text encoder's features; None = no text loss.
            same: bool Tensor with shape (B, B): clouds of the same text; None = no contrast.
            hidden: Scalar, the loss of the hidden patches; None = Chamfer L2 of their points.

        Raises:
            ValueError: Something to compare with, and no head for it, or one of another width.
        """
        return ReconLosses(
            self.loss(patches, PointMAEOutput(output.predicted, output.hidden)) if hidden is None else hidden,
            _smooth_l1("image", output.image, image),
            _smooth_l1("text", output.text, text),
            None if same is None else MeanPositiveContrast()(_given("contrast", output.contrast), same),
        )


def _contrast_head(width: int) -> nn.Sequential:
    """C -> 128 -> 128, with batch norm after each."""
    return nn.Sequential(
        nn.Linear(width, CONTRAST_WIDTH),
        nn.BatchNorm1d(CONTRAST_WIDTH),
        nn.ReLU(),
        nn.Linear(CONTRAST_WIDTH, CONTRAST_WIDTH),
        nn.BatchNorm1d(CONTRAST_WIDTH),
    )


def _smooth_l1(name: str, predicted: torch.Tensor | None, target: torch.Tensor | None) -> torch.Tensor | None:
    if target is None:
        return None
    predicted = _given(name, predicted)
    if predicted.shape != target.shape:
        raise ValueError(f"{name} features {tuple(target.shape)} do not fit predicted {tuple(predicted.shape)}")
    return F.smooth_l1_loss(predicted.float(), target.float())


def _given(name: str, predicted: torch.Tensor | None) -> torch.Tensor:
    if predicted is None:
        raise ValueError(f"this ReCon has no {name} head; build it with one")
    return predicted

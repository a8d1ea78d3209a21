"""Stage II: the masked student and its decoder."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.textbook.autoencoder import DiscreteVAE
from benchmarks.textbook.losses import LOSSES
from benchmarks.textbook.point_networks import Encoder
from benchmarks.textbook.transformer import Block, TransformerEncoder, position_embedding


def random_mask(center: Tensor, ratio: float) -> Tensor:
    """(B, G) bool, int(ratio G) hidden in every cloud, shuffled one by one."""
    batch, groups, _ = center.shape
    mask = torch.zeros(batch, groups, dtype=torch.bool)
    for row in mask:
        row[torch.randperm(groups)[: int(ratio * groups)]] = True
    return mask.to(center.device)


def block_mask(center: Tensor, ratio: float) -> Tensor:
    """(B, G) bool, the int(ratio G) patches nearest to a random one hidden."""
    batch, groups, _ = center.shape
    mask = torch.zeros(batch, groups, dtype=torch.bool)
    for row, points in zip(mask, center, strict=True):
        distance = (points - points[torch.randint(groups, ())]).norm(dim=-1)
        row[distance.argsort()[: int(ratio * groups)].cpu()] = True
    return mask.to(center.device)


class Encoded(NamedTuple):
    """Patch features after the norm, the class token after the norm, and a shallow block's patches before it."""

    patches: Tensor
    token: Tensor
    shallow: Tensor | None


class StudentEncoder(nn.Module):
    """Patch embedding, class token, blocks, norm; sees the visible patches only."""

    def __init__(
        self, width: int = 384, depth: int = 12, heads: int = 6, drop_path: float = 0.1, unused_heads: bool = False
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.encoder = Encoder(width)
        self.pos_embed = position_embedding(width)
        self.blocks = TransformerEncoder(width, depth, heads, drop_path)
        self.norm = nn.LayerNorm(width)
        if unused_heads:  # in the released files, never used in this stage
            self.lm_head = nn.Linear(width, 8192)
            self.cls_head = nn.Sequential(nn.Linear(width, 512), nn.GELU(), nn.Linear(512, 512))

    def forward(self, neighborhood: Tensor, center: Tensor, mask: Tensor, shallow: int | None = None) -> Encoded:
        batch = len(center)
        tokens = self.encoder(neighborhood)
        visible = tokens[~mask].reshape(batch, -1, tokens.shape[-1])
        pos = self.pos_embed(center[~mask].reshape(batch, -1, 3))
        x = torch.cat([self.cls_token.expand(batch, -1, -1), visible], dim=1)
        pos = torch.cat([self.cls_pos.expand(batch, -1, -1), pos], dim=1)
        x, kept = self.blocks(x, pos, () if shallow is None else (shallow,))
        x = self.norm(x)
        return Encoded(x[:, 1:], x[:, 0], kept[0][:, 1:] if kept else None)


class StudentDecoder(nn.Module):
    """Blocks over visible features and mask tokens; the outputs of the hidden patches, normed."""

    def __init__(self, width: int, depth: int, heads: int, drop_path: float) -> None:
        super().__init__()
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList([Block(width, heads, drop_path=rate) for rate in rates])
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, pos: Tensor, hidden: int) -> Tensor:
        for block in self.blocks:
            x = block(x + pos)
        return self.norm(x[:, -hidden:])


class Predictions(NamedTuple):
    """Predicted teacher features of the hidden patches, a second time from the shallow block with `cls_loss`."""

    visible: Tensor
    predicted: Tensor
    shallow: Tensor | None


class PointDistillation(nn.Module):
    """The student that predicts the teacher's features of the patches it does not see."""

    def __init__(
        self,
        teacher: DiscreteVAE,
        teacher_width: int = 384,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        decoder_depth: int = 2,
        decoder_heads: int = 6,
        drop_path: float = 0.1,
        mask_ratio: float = 0.8,
        mask_type: str = "rand",
        loss: str = "cosine",
        cls_loss: bool = False,
        shallow_block: int = 9,
        unused_heads: bool = False,
    ) -> None:
        super().__init__()
        self.mask_ratio, self.mask_type, self.loss_name = mask_ratio, mask_type, loss
        self.cls_loss, self.shallow_block = cls_loss, shallow_block
        self.ACT_encoder = StudentEncoder(width, depth, heads, drop_path, unused_heads)
        if cls_loss:
            self.cls_pos = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.dvae_tokenizer = teacher.requires_grad_(False).eval()
        self.proj_head = nn.Linear(width, teacher_width)
        if mask_ratio > 0:
            self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.decoder_pos_embed = position_embedding(width)
            self.ACT_decoder = StudentDecoder(width, decoder_depth, decoder_heads, drop_path)

    def train(self, mode: bool = True) -> "PointDistillation":
        """The teacher stays in eval mode (the release lets it drift)."""
        super().train(mode)
        self.dvae_tokenizer.eval()
        return self

    def draw_mask(self, center: Tensor) -> Tensor:
        """A fresh mask, True where hidden. (B, G, 3) -> (B, G)."""
        return (block_mask if self.mask_type == "block" else random_mask)(center, self.mask_ratio)

    def decode(self, x: Tensor, center: Tensor, mask: Tensor, token: Tensor | None = None) -> Tensor:
        """Visible features, then mask tokens, with their positions; a class token in front where given."""
        batch, _, width = x.shape
        pos_visible = self.decoder_pos_embed(center[~mask]).reshape(batch, -1, width)
        pos_hidden = self.decoder_pos_embed(center[mask]).reshape(batch, -1, width)
        hidden = pos_hidden.shape[1]
        x = torch.cat([x, self.mask_token.expand(batch, hidden, -1)], dim=1)
        pos = torch.cat([pos_visible, pos_hidden], dim=1)
        if token is not None:
            x = torch.cat([token[:, None], x], dim=1)
            pos = torch.cat([self.cls_pos.expand(batch, -1, -1), pos], dim=1)
        return self.proj_head(self.ACT_decoder(x, pos, hidden))

    def predict(self, neighborhood: Tensor, center: Tensor, mask: Tensor) -> Predictions:
        """Features of the hidden patches as the student sees them."""
        encoded = self.ACT_encoder(neighborhood, center, mask, self.shallow_block if self.cls_loss else None)
        if self.mask_ratio == 0:
            return Predictions(encoded.patches, self.proj_head(encoded.patches), None)
        predicted = self.decode(encoded.patches, center, mask)
        shallow = None
        if self.cls_loss:
            shallow = self.decode(encoded.shallow, center, mask, encoded.token)
        return Predictions(encoded.patches, predicted, shallow)

    @torch.no_grad()
    def targets(self, neighborhood: Tensor, center: Tensor, mask: Tensor) -> Tensor:
        """Teacher features of the hidden patches, from the arg-max codes. (B, H, D)."""
        features = self.dvae_tokenizer(neighborhood, center, hard=True, noise=False).features
        return features if self.mask_ratio == 0 else features[mask].reshape(len(mask), -1, features.shape[-1])

    def forward(self, neighborhood: Tensor, center: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of a step."""
        mask = self.draw_mask(center) if mask is None else mask
        prediction, target = self.predict(neighborhood, center, mask), self.targets(neighborhood, center, mask)
        loss = LOSSES[self.loss_name]
        extra = {"divisor": 1} if self.mask_ratio == 0 and self.loss_name in ("ntxent", "barlow") else {}
        total = loss(prediction.predicted, target, **extra)
        return total if prediction.shallow is None else total + loss(prediction.shallow, target, **extra)

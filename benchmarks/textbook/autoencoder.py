"""Stage I: the discrete autoencoder, with or without a prompted Transformer."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.textbook.geometry import chamfer_l1, group
from benchmarks.textbook.point_networks import DGCNN, Decoder, Encoder
from benchmarks.textbook.transformer import Block, position_embedding


class Output(NamedTuple):
    """What a pass leaves behind: patches in local coordinates, code logits and the features between the steps."""

    coarse: Tensor
    fine: Tensor
    logits: Tensor
    hidden: Tensor
    features: Tensor


class DiscreteVAE(nn.Module):
    """The Point-BERT dVAE: tokens between two graph networks, folding behind them."""

    def __init__(
        self,
        patches: int = 64,
        patch_size: int = 32,
        codes: int = 8192,
        width: int = 256,
        graph_width: int = 1024,
        folding_width: int = 512,
    ) -> None:
        super().__init__()
        self.patches, self.patch_size, self.codes = patches, patch_size, codes
        self.codebook = nn.Parameter(torch.randn(codes, width))
        self.encoder = Encoder(width)
        self.dgcnn_1 = DGCNN(width, codes, graph_width)
        self.dgcnn_2 = DGCNN(width, width, graph_width)
        self.decoder = Decoder(width, patch_size, folding_width)

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Patches of the clouds: (B, G, M, 3), (B, G, 3)."""
        return group(points, self.patches, self.patch_size)

    def codes_of(self, logits: Tensor, temperature: float, hard: bool, noise: bool) -> Tensor:
        """Gumbel-softmax code times the codebook; without noise the arg-max code when hard. -> (B, G, C)."""
        if noise:
            code = F.gumbel_softmax(logits, tau=temperature, dim=2, hard=hard)
        elif hard:
            code = F.one_hot(logits.argmax(dim=2), self.codes).to(logits.dtype)
        else:
            code = (logits / temperature).softmax(dim=2)
        return torch.einsum("bgk,kc->bgc", code, self.codebook)

    def transform(self, sampled: Tensor, center: Tensor) -> Tensor:
        """What stands between the codes and the second graph network: nothing here."""
        return sampled

    def forward(
        self,
        neighborhood: Tensor,
        center: Tensor,
        temperature: float = 1.0,
        hard: bool = False,
        noise: bool = True,
    ) -> Output:
        logits = self.dgcnn_1(self.encoder(neighborhood), center)
        hidden = self.transform(self.codes_of(logits, temperature, hard, noise), center)
        features = self.dgcnn_2(hidden, center)
        coarse, fine = self.decoder(features)
        return Output(coarse, fine, logits, hidden, features)

    def loss(self, neighborhood: Tensor, output: Output) -> tuple[Tensor, Tensor]:
        """Reconstruction of the patches (Chamfer L1 of coarse and of fine), and KL(uniform || mean softmax)."""
        target = neighborhood.flatten(0, 1)
        reconstruction = chamfer_l1(output.coarse.flatten(0, 1), target) + chamfer_l1(output.fine.flatten(0, 1), target)
        mean = output.logits.softmax(dim=-1).mean(dim=1)  # (B, K)
        uniform = torch.full_like(mean, 1.0 / self.codes)
        kl = (uniform * (uniform.log() - mean.log())).sum() / len(mean)
        return reconstruction, kl

    def reconstruct(self, output: Output, center: Tensor) -> Tensor:
        """The whole cloud: fine points moved back to their centres. (B, G M, 3)."""
        return (output.fine + center[:, :, None, :]).flatten(1, 2)


class PromptedAutoencoder(DiscreteVAE):
    """The dVAE with a frozen, prompted Transformer between the codes and the second graph network."""

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        norm: nn.Module,
        backbone_width: int,
        prompts: int = 64,
        deep: bool = True,
        dropout: float = 0.1,
        patches: int = 64,
        patch_size: int = 32,
        codes: int = 8192,
        width: int = 384,
        graph_width: int = 1024,
        folding_width: int = 512,
    ) -> None:
        super().__init__(patches, patch_size, codes, width, graph_width, folding_width)
        stack = nn.Sequential(*blocks)
        self.visual_embed = nn.Sequential(stack, norm)
        self.visual_embed.requires_grad_(False)
        depth = len(stack)
        self.visual_prompt_token = nn.Parameter(torch.randn(1, prompts, backbone_width) * 0.02)
        self.visual_prompt_pos = nn.Parameter(torch.randn(1, prompts, backbone_width) * 0.02)
        self.deep = deep
        if deep:
            self.deep_prompt_tokens = nn.Parameter(torch.randn(depth - 1, prompts, backbone_width) * 0.02)
            self.deep_prompt_pos = nn.Parameter(torch.randn(depth - 1, prompts, backbone_width) * 0.02)
        self.prompt_dropout = nn.Dropout(dropout)
        self.proj_pre = nn.Linear(width, backbone_width)
        self.visual_pos_embed = position_embedding(backbone_width)
        self.proj_post = nn.Linear(backbone_width, width)

    def train(self, mode: bool = True) -> "PromptedAutoencoder":
        """The frozen Transformer stays in eval mode."""
        super().train(mode)
        self.visual_embed.eval()
        return self

    def transform(self, sampled: Tensor, center: Tensor) -> Tensor:
        """Prompts stand in front through every block; their outputs are dropped after the norm. -> (B, G, C)."""
        batch, prompts = len(sampled), self.visual_prompt_token.shape[1]
        prompt = self.prompt_dropout(self.visual_prompt_token.expand(batch, -1, -1))
        x = torch.cat([prompt, self.proj_pre(sampled)], dim=1)
        center_pos = self.visual_pos_embed(center)
        pos = torch.cat([self.visual_prompt_pos.expand(batch, -1, -1), center_pos], dim=1)
        for layer, block in enumerate(self.visual_embed[0].children()):
            if self.deep and layer > 0:
                prompt = self.prompt_dropout(self.deep_prompt_tokens[layer - 1].expand(batch, -1, -1))
                x = torch.cat([prompt, x[:, prompts:]], dim=1)
                pos = torch.cat([self.deep_prompt_pos[layer - 1].expand(batch, -1, -1), center_pos], dim=1)
            x = block(x + pos)
        return self.proj_post(self.visual_embed[1](x)[:, prompts:])


def vit(width: int, depth: int, heads: int, eps: float = 1e-6) -> tuple[list[nn.Module], nn.Module]:
    """Blocks and final norm of a ViT (pre-norm, qkv with bias)."""
    blocks: list[nn.Module] = [Block(width, heads, qkv_bias=True, eps=eps) for _ in range(depth)]
    return blocks, nn.LayerNorm(width, eps=eps)


def bert(width: int, depth: int, heads: int, eps: float = 1e-12) -> tuple[list[nn.Module], nn.Module]:
    """Layers of a BERT (post-norm), which end in a norm of their own."""
    blocks: list[nn.Module] = [Block(width, heads, qkv_bias=True, eps=eps, norm_first=False) for _ in range(depth)]
    return blocks, nn.Identity()

"""The Transformer blocks of all models: those trained here, and the pretrained ones read into them."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from act3d.kernels.linear import Linear, linear


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": _quick_gelu,
    "relu": F.relu,
}
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]


class Attention(nn.Module):
    """Multi-head self-attention, also over prefix tokens: keys and values only, no queries.

    Args:
        width: C, a multiple of heads.
        heads: Attention heads.
        qkv_bias: Biases of queries, keys and values.

    Raises:
        ValueError: `width` is no multiple of `heads`.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.qkv = Linear(width, 3 * width, bias=qkv_bias)
        self.proj = Linear(width, width)

    def forward(
        self, x: torch.Tensor, prefix: torch.Tensor | None = None, keys_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attention of every token of `x` to the prefix tokens and `x`.

        Args:
            x: Tensor with shape (B, T, C).
            prefix: Prefix tokens, Tensor with shape (B, P, C), or (1, P, C) if all clouds share them.
            keys_values: Instead of `prefix`, its keys and values, from `prefix_keys_values`.

        Returns:
            Tensor with shape (B, T, C).
        """
        batch, tokens, width = x.shape
        # (B, T, 3C) -> 3 x (B, heads, T, C / heads)
        query, key, value = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if keys_values is None and prefix is not None:
            keys_values = self.prefix_keys_values(prefix)
        if keys_values is not None:
            keys_values = keys_values.expand(-1, batch, -1, -1, -1)
            key, value = torch.cat([keys_values[0], key], dim=2), torch.cat([keys_values[1], value], dim=2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))

    def prefix_keys_values(self, prefix: torch.Tensor) -> torch.Tensor:
        """Keys and values of prefix tokens: (B, P, C) -> (2, B, heads, P, C / heads)."""
        batch, tokens, width = prefix.shape
        bias = None if self.qkv.bias is None else self.qkv.bias[width:]
        return (
            linear(prefix, self.qkv.weight[width:], bias).view(batch, tokens, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        )


class Mlp(nn.Module):
    """MLP of a block: two linear layers with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.fc2(ACTIVATIONS[self.activation](self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): a residual branch is left out for a whole cloud at random."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ...) -> (B, ...); in training branches that are kept are scaled, so that the mean stays the same."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep).div_(keep)


class Block(nn.Module):
    """A Transformer block: pre-norm (ViT, DeiT, CLIP, DINOv2 ...) or post-norm (BERT, MiniLM).

    Args:
        width: C, a multiple of heads.
        heads: Attention heads.
        mlp_ratio: Width of the MLP's hidden layer over C.
        hidden: That width itself, instead of `mlp_ratio`.
        qkv_bias: Biases of queries, keys and values.
        drop_path: Rate of stochastic depth, in training.
        eps: Of the norms.
        norm_first: Norms before attention and MLP; False = after the residual connections.
        activation: Of the MLP.
        layer_scale: Scale both branches by a trained vector each (Touvron et al., 2021: CaiT).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        hidden: int | None = None,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-5,
        norm_first: bool = True,
        activation: Activation = "gelu",
        layer_scale: bool = False,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden or int(width * mlp_ratio), activation)
        self.drop_path = DropPath(drop_path)
        self.ls1 = nn.Parameter(torch.ones(width)) if layer_scale else None
        self.ls2 = nn.Parameter(torch.ones(width)) if layer_scale else None

    def forward(
        self, x: torch.Tensor, prefix: torch.Tensor | None = None, keys_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One block over `x`, whose attention also sees the prefix tokens.

        Args:
            x: Tensor with shape (B, T, C).
            prefix: Prefix tokens, Tensor with shape (B, P, C) or (1, P, C): keys and values only.
            keys_values: Instead of `prefix`, its keys and values, from `prefix_keys_values`.

        Returns:
            Tensor with shape (B, T, C), the outputs for `x`; prefix tokens have none.
        """
        if keys_values is None and prefix is not None:
            keys_values = self.prefix_keys_values(prefix)
        if self.norm_first:
            x = x + self.drop_path(_scaled(self.attn(self.norm1(x), keys_values=keys_values), self.ls1))
            return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.ls2))
        x = self.norm1(x + self.drop_path(_scaled(self.attn(x, keys_values=keys_values), self.ls1)))
        return self.norm2(x + self.drop_path(_scaled(self.mlp(x), self.ls2)))

    def prefix_keys_values(self, prefix: torch.Tensor) -> torch.Tensor:
        """Keys and values of prefix tokens in this block: (B, P, C) -> (2, B, heads, P, C / heads)."""
        return self.attn.prefix_keys_values(self.norm1(prefix) if self.norm_first else prefix)

    def prefix_parameters(self) -> list[torch.Tensor]:
        """The parameters that `prefix_keys_values` depends on."""
        qkv, norm = self.attn.qkv, self.norm1
        found = [qkv.weight, qkv.bias, *((norm.weight, norm.bias) if self.norm_first else ())]
        return [parameter for parameter in found if parameter is not None]


def _scaled(x: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """Layer scale, if there is one: x (B, T, C), scale (C,)."""
    return x if scale is None else x * scale


def position_mlp(width: int) -> nn.Sequential:
    """Position embedding of patches by their centers: (B, G, 3) -> 128 -> (B, G, width), with GELU."""
    return nn.Sequential(Linear(3, 128), nn.GELU(), Linear(128, width))


def drop_path_rates(depth: int, last: float) -> list[float]:
    """Stochastic depth rates of all blocks, rising evenly from 0 in the first to `last` in the last."""
    return [last * i / max(1, depth - 1) for i in range(depth)]


def init_weights(module: nn.Module) -> None:
    """Truncated normal of standard deviation 0.02 for weights, zero for biases, as in the release."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

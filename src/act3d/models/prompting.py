"""A frozen pretrained Transformer that looks at patches through trainable prompts (VPT, Jia et al., 2022)."""

from typing import Any, cast

import torch
from torch import nn

from act3d.kernels.linear import Linear
from act3d.models.teachers import Backbone
from act3d.models.transformer import Block, position_mlp


class PromptedTransformer(nn.Module):
    """Patch features (B, G, C) -> backbone's width D -> prompted frozen blocks -> (B, G, C) (ACT, section 3.2).

    Position embeddings are added before every block. Shallow prompts are carried through all blocks. Deep prompts
    are new in every block: a prompt's output is thrown away, so a prompt only needs keys and values there.
    """

    prompt_token: nn.Parameter  # (1, P, D)
    prompt_pos: nn.Parameter
    deep_prompt_tokens: nn.Parameter  # (L - 1, P, D)
    deep_prompt_pos: nn.Parameter

    def __init__(self, width: int, backbone: Backbone, prompts: int, deep_prompts: bool, prompt_dropout: float) -> None:
        super().__init__()
        self.prompts = prompts
        self._pairs: tuple[list[object], list[torch.Tensor]] | None = None
        self.backbone = backbone
        self.proj_pre = Linear(width, backbone.width)
        self.proj_post = Linear(backbone.width, width)
        self.pos_embed = position_mlp(backbone.width)
        self.dropout = nn.Dropout(prompt_dropout)
        self.deep = deep_prompts and prompts > 0
        layers = {"prompt_token": 1, "prompt_pos": 1, "deep_prompt_tokens": 0, "deep_prompt_pos": 0}
        if self.deep:
            layers["deep_prompt_tokens"] = layers["deep_prompt_pos"] = backbone.depth - 1
        for name, count in layers.items():  # None where there are none: nothing in the checkpoint either
            made = _prompt_parameter(count, prompts, backbone.width, is_token="token" in name)
            self.register_parameter(name, made if count and prompts else None)

    def forward(self, features: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        """Run patches through the prompted backbone.

        Args:
            features: Tensor with shape (B, G, C).
            centers: Tensor with shape (B, G, 3).

        Returns:
            Tensor with shape (B, G, C).

        Raises:
            InputError: The backbone is a token mixer and G + P is not the length it was built for.
        """
        self.backbone.check_length(features.shape[1], self.prompts)
        x, pos = self.backbone.norm_pre(self.proj_pre(features)), self.pos_embed(centers)
        if not self.prompts:
            for block in self.backbone.blocks:
                x = block(x + pos)
        elif self.deep and self.backbone.accepts_prefix:
            x = self._with_deep_prompts(x, pos)
        else:
            x = self._carrying_prompts(x, pos)
        return self.proj_post(self.backbone.norm(x))

    def _with_deep_prompts(self, x: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
        """Every block sees its own prompts as a prefix: (B, G, D) -> (B, G, D)."""
        if not self._constant_prompts():
            for layer, block in enumerate(self.backbone.blocks):
                x = block(x + pos, self._layer_prompts(layer, x.shape[0]))
            return x
        for block, pair in zip(self.backbone.blocks, self._prompt_pairs(), strict=True):
            x = block(x + pos, pair=pair)
        return x

    def _constant_prompts(self) -> bool:
        """Whether prompts mean the same from call to call: in use, not in training, and not while torch traces."""
        tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return not (torch.is_grad_enabled() or self.training or tracing or self.prompt_token.is_inference())

    def _prompt_pairs(self) -> list[torch.Tensor]:
        """Keys and values of the prompts in every block, kept until a weight that they come from changes."""
        device = self.prompt_token.device.type
        state: list[object] = [torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)]
        sources = [self.prompt_token, self.prompt_pos, self.deep_prompt_tokens, self.deep_prompt_pos]
        for tensor in (t for t in (*sources, *self.backbone.parameters()) if t is not None):
            state += [tensor.data_ptr(), tensor._version, tensor.dtype]
        if self._pairs is None or self._pairs[0] != state:
            made = [
                cast(Block, block).keys_values(self._layer_prompts(layer, 1))
                for layer, block in enumerate(self.backbone.blocks)
            ]
            self._pairs = (state, made)
        return self._pairs[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles make their own keys and values."""
        return {**super().__getstate__(), "_pairs": None}

    def _carrying_prompts(self, x: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
        """Prompts stand in front of the patches; deep ones replace them from the second block on."""
        batch, prompts = x.shape[0], self.prompts
        tokens = self.backbone.norm_pre(self.dropout(self.prompt_token.expand(batch, -1, -1)))
        front = self.prompt_pos.expand(batch, -1, -1)
        for layer, block in enumerate(self.backbone.blocks):
            if layer and self.deep:
                inputs = self._layer_prompts(layer, batch).expand(batch, -1, -1)
            else:
                inputs = tokens + front
            x = block(torch.cat([inputs, x + pos], dim=1))  # (B, P + G, D)
            tokens, x = x[:, :prompts], x[:, prompts:]
        return x

    def _layer_prompts(self, layer: int, batch: int) -> torch.Tensor:
        """Prompts of one layer with their positions: (B, P, D) under dropout, else (1, P, D) for all clouds."""
        if layer == 0:
            tokens, pos = self.prompt_token[:], self.prompt_pos[:]
        else:
            tokens, pos = self.deep_prompt_tokens[layer - 1 : layer], self.deep_prompt_pos[layer - 1 : layer]
        if self.training and self.dropout.p > 0:
            tokens = self.dropout(tokens.expand(batch, -1, -1))
        if layer == 0:
            tokens = self.backbone.norm_pre(tokens)
        return tokens + pos


def _prompt_parameter(layers: int, prompts: int, width: int, is_token: bool) -> nn.Parameter:
    """(layers, P, D): tokens uniform within VPT's bound (its eq. for patches of 16 x 16 x 3), positions near zero."""
    values = torch.empty(layers, prompts, width)
    if not is_token:
        return nn.Parameter(nn.init.trunc_normal_(values, std=0.02))
    bound = (6.0 / (3 * 16 * 16 + width)) ** 0.5
    return nn.Parameter(values.uniform_(-bound, bound))

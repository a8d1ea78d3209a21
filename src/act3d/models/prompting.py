"""A frozen pretrained Transformer with trainable prompts, over patches (VPT, Jia et al., 2022)."""

from typing import Any, cast

import torch
from torch import nn

from act3d.kernels.dispatch import tracing
from act3d.kernels.linear import Linear
from act3d.models.teachers import Backbone
from act3d.models.transformer import Block, position_mlp


class PromptedTransformer(nn.Module):
    """Patch features (B, G, C) -> backbone's width D -> prompted frozen blocks -> (B, G, C) (ACT, section 3.2).

    Position embeddings are added before every block. Shallow prompts are carried through all blocks. Deep prompts
    are new in every block: their outputs are not used, so they are prefix tokens (keys and values only, no queries).

    Args:
        width: C, of patch features outside the backbone.
        backbone: The frozen pretrained Transformer, of width D and depth L.
        prompts: P, prompt tokens; 0 for none.
        deep_prompts: New prompts in every block; False = one set carried through all blocks.
        prompt_dropout: Dropout on prompt tokens in training.
    """

    prompt_token: nn.Parameter  # (1, P, D)
    prompt_pos: nn.Parameter
    deep_prompt_tokens: nn.Parameter  # (L - 1, P, D)
    deep_prompt_pos: nn.Parameter

    def __init__(self, width: int, backbone: Backbone, prompts: int, deep_prompts: bool, prompt_dropout: float) -> None:
        super().__init__()
        self.prompts = prompts
        # keys and values of the prompts in every block, and the state of the weights they were computed from
        self._kept: tuple[list[object], list[torch.Tensor]] | None = None
        self.backbone = backbone
        self.proj_pre = Linear(width, backbone.width)
        self.proj_post = Linear(backbone.width, width)
        self.pos_embed = position_mlp(backbone.width)
        self.dropout = nn.Dropout(prompt_dropout)
        self.deep = deep_prompts and prompts > 0
        layers = {"prompt_token": 1, "prompt_pos": 1, "deep_prompt_tokens": 0, "deep_prompt_pos": 0}
        if self.deep:
            layers["deep_prompt_tokens"] = layers["deep_prompt_pos"] = backbone.depth - 1
        for name, count in layers.items():  # None where there are none: they are not in the checkpoint either
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
        """Every block sees its own prompts as prefix tokens: (B, G, D) -> (B, G, D)."""
        if not self._keeps_prompts():
            for layer, block in enumerate(self.backbone.blocks):
                x = block(x + pos, self._layer_prompts(layer, x.shape[0]))
            return x
        for block, keys_values in zip(self.backbone.blocks, self._kept_keys_values(), strict=True):
            x = block(x + pos, keys_values=keys_values)
        return x

    def _keeps_prompts(self) -> bool:
        """Whether prompts are the same from call to call: outside training, and not while torch traces."""
        return not (torch.is_grad_enabled() or self.training or tracing() or self.prompt_token.is_inference())

    def _kept_keys_values(self) -> list[torch.Tensor]:
        """Keys and values of the prompts in every block, kept until a weight that they depend on changes."""
        blocks = cast(list[Block], list(self.backbone.blocks))
        device = self.prompt_token.device.type
        state: list[object] = [torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)]
        sources: list[torch.Tensor] = [
            self.prompt_token,
            self.prompt_pos,
            self.deep_prompt_tokens,
            self.deep_prompt_pos,
        ]
        sources += self.backbone.norm_pre.parameters()
        for block in blocks:
            sources += block.prefix_parameters()
        for tensor in sources:
            if tensor is not None:  # a backbone of one block has no deep prompts
                state += [tensor.data_ptr(), tensor._version, tensor.dtype]
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, [b.prefix_keys_values(self._layer_prompts(i, 1)) for i, b in enumerate(blocks)])
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles compute their own keys and values."""
        return {**super().__getstate__(), "_kept": None}

    def _carrying_prompts(self, x: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
        """Prompts stand before the patches; deep prompts replace them from the second block on."""
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
        """Prompts of one block with their positions: (B, P, D) with dropout, else (1, P, D) for all clouds."""
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
    """Prompts (layers, P, D): tokens uniform within VPT's bound (for patches of 16 x 16 x 3), positions near zero."""
    values = torch.empty(layers, prompts, width)
    if not is_token:
        return nn.Parameter(nn.init.trunc_normal_(values, std=0.02))
    bound = (6.0 / (3 * 16 * 16 + width)) ** 0.5
    return nn.Parameter(values.uniform_(-bound, bound))

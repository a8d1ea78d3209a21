"""Layers that train few weights of a frozen encoder: low-rank updates and adapters."""

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

from act3d.kernels.linear import Linear, linear
from act3d.models.transformer import Block, Mlp

LoraTarget = Literal["qkv", "proj", "fc1", "fc2"]
LORA_TARGETS: tuple[str, ...] = get_args(LoraTarget)
_ADDED = ("lora_a", "lora_b", "adapter_down.weight", "adapter_down.bias", "adapter_up.weight", "adapter_up.bias")


class LoraLinear(Linear):
    """A linear layer with a low-rank update: W x + b + B A x (LoRA, Hu et al., 2022, with alpha = rank).

    B is zero at the start: the layer then gives what `plain` gives, whose weights it shares.
    """

    def __init__(self, plain: nn.Linear, rank: int) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        self.lora_a = nn.Parameter(plain.weight.new_empty(rank, plain.in_features))
        self.lora_b = nn.Parameter(plain.weight.new_zeros(plain.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C_in) -> (..., C_out)."""
        return super().forward(x) + linear(linear(x, self.lora_a), self.lora_b)

    def merged_weight(self) -> torch.Tensor:
        """The weight (C_out, C_in) of the plain layer that gives the same: W + B A."""
        return self.weight.detach() + self.lora_b.detach() @ self.lora_a.detach()


class AdaptedMlp(Mlp):
    """The MLP of a block, then a bottleneck with a residual connection (Houlsby et al., 2019; behind the MLP only).

    The bottleneck's last layer is zero at the start: the MLP then gives what `plain` gives, whose weights it shares.
    """

    def __init__(self, plain: Mlp, width: int) -> None:
        super().__init__(1, 1, plain.activation)
        self.fc1, self.fc2 = plain.fc1, plain.fc2
        channels = plain.fc2.out_features
        self.adapter_down = Linear(channels, width).to(plain.fc2.weight)
        self.adapter_up = Linear(width, channels).to(plain.fc2.weight)
        nn.init.trunc_normal_(self.adapter_down.weight, std=0.02)
        for values in (self.adapter_down.bias, self.adapter_up.weight, self.adapter_up.bias):
            nn.init.zeros_(values)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = super().forward(x)
        return x + self.adapter_up(F.gelu(self.adapter_down(x)))


FEW = ("lora_rank", "lora_targets", "adapter_width")  # arguments of models


def few_config(transfer: str, lora_rank: int, lora_targets: Sequence[str], adapter_width: int) -> dict[str, Any]:
    """Those of the arguments that mean something for a transfer, for a model's config."""
    if transfer == "lora":
        return {"lora_rank": lora_rank, "lora_targets": list(lora_targets)}
    return {"adapter_width": adapter_width} if transfer == "adapter" else {}


def is_added(name: str) -> bool:
    """Tell whether a parameter of this name was added to an encoder by `add_lora` or `add_adapters`."""
    return name.endswith(_ADDED)


def add_lora(encoder: nn.Module, rank: int, targets: Sequence[str]) -> None:
    """Give linear layers of all blocks a low-rank update.

    Args:
        encoder: A module with Transformer blocks.
        rank: Rows of A.
        targets: Some of `LORA_TARGETS`: queries, keys and values (qkv), the output of attention (proj), and the two
            layers of the MLP (fc1, fc2).

    Raises:
        ValueError: No such target, or a rank below 1.
    """
    if not targets or not set(targets) <= set(LORA_TARGETS):
        raise ValueError(f"lora_targets = {list(targets)}; allowed are some of {', '.join(LORA_TARGETS)}")
    if rank < 1:
        raise ValueError(f"lora_rank = {rank}; at least 1 is needed")
    for block in _blocks(encoder):
        for target in targets:
            part = block.attn if target in ("qkv", "proj") else block.mlp
            setattr(part, target, LoraLinear(getattr(part, target), rank))


def add_adapters(encoder: nn.Module, width: int) -> None:
    """Put an adapter of this width behind the MLP of all blocks.

    Raises:
        ValueError: A width below 1.
    """
    if width < 1:
        raise ValueError(f"adapter_width = {width}; at least 1 is needed")
    for block in _blocks(encoder):
        block.mlp = AdaptedMlp(block.mlp, width)


def merged_state(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """The encoder's state as that of an encoder without low-rank updates, which gives the same."""
    state = {k: v for k, v in encoder.state_dict().items() if not k.endswith(("lora_a", "lora_b"))}
    for name, module in encoder.named_modules():
        if isinstance(module, LoraLinear):
            state[f"{name}.weight"] = module.merged_weight()
    return state


def merge_lora(model: Any) -> Any:
    """A copy of a classifier or segmenter whose low-rank updates are inside its weights: a plain model, transfer full.

    A model without such updates is returned as it is.
    """
    if getattr(model, "config", {}).get("transfer") != "lora":
        return model
    merged = copy.deepcopy(model)
    for module in merged.modules():
        for name, layer in list(module.named_children()):
            if isinstance(layer, LoraLinear):
                plain = Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
                plain.weight, plain.bias = nn.Parameter(layer.merged_weight()), layer.bias
                setattr(module, name, plain)
    merged.transfer = "full"
    merged.config = {k: v for k, v in model.config.items() if k not in FEW and k != "transfer"}
    if model.kind == "classifier":
        merged.config |= {"transfer": "full", "head": model.config.get("head", "linear")}  # lora's head, not full's
    merged.requires_grad_(True)
    return merged.train(model.training)


def _blocks(encoder: nn.Module) -> list[Block]:
    return [module for module in encoder.modules() if isinstance(module, Block)]

"""AdamW with weight decay where it belongs."""

from typing import Any

import torch
from torch import nn

from act3d.settings.training import OptimConfig


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Tell whether weight decay acts on a parameter, as in the released recipes.

    It does not on 1-D parameters (biases, norms, scales) and on tokens (class, mask and prompt tokens). It does on
    the codebook and on the positions of tokens.
    """
    return parameter.ndim > 1 and not name.endswith("bias") and "token" not in name


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups of the trainable parameters, each once: with decay, and without."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups[decays(name, parameter)].append(parameter)
    return [
        {"params": groups[True], "weight_decay": weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters of `model`."""
    groups = parameter_groups(model, optim.weight_decay)
    # On the CPU one pass over each parameter instead of eight. On CUDA the fused form and fp16's gradient scaling
    # exclude clipping, and the default (foreach) has few launches already.
    on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=optim.lr, fused=True if on_cpu else None)

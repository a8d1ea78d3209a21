"""AdamW with weight decay where it belongs."""

from typing import Any

import torch
from torch import nn

from act3d.engine.sharding import divided_like
from act3d.settings.training import OptimConfig

_FORMS = ("fused", "foreach", "capturable")  # how a step is computed: of this device and precision, not of the run


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


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Return how many numbers training changes ("trained"), and how many the model's parameters are ("all")."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"trained": sum(n for n, trains in counts if trains), "all": sum(n for n, _ in counts)}


def build_optimizer(model: nn.Module, optim: OptimConfig, fused: bool = True) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters of `model`.

    Args:
        model: what is trained, on its device.
        optim: learning rate and weight decay.
        fused: on the CPU and CUDA, one pass over each parameter instead of eight; not possible with fp16, whose
            gradients are scaled.
    """
    groups = parameter_groups(model, optim.weight_decay)
    computes = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=optim.lr, fused=fused and computes)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up a saved optimizer's moments; weight decay, and whether steps are fused, stay as they are set now."""
    own = [{name: group[name] for name in ("weight_decay", *_FORMS)} for group in optimizer.param_groups]
    saved = [{**group, **now} for group, now in zip(state["param_groups"], own, strict=True)]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        place: {name: _fitted(name, value, parameters[place]) for name, value in of.items()}
        for place, of in state["state"].items()
    }
    optimizer.load_state_dict({"state": moments, "param_groups": saved})


def _fitted(name: str, value: Any, parameter: torch.Tensor) -> Any:
    """Return this process's part of a moment; that of a temperature (1,) was a scalar in earlier versions."""
    return value if name == "step" else divided_like(value.reshape(parameter.shape), parameter)

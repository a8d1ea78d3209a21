"""Weights, gradients and moments divided among processes, for models whose training one device does not hold.

By torch's `fully_shard` (FSDP2): every process keeps a part of each weight that trains. Around a block's forward and
backward pass its weights are gathered; around a step, those of no block. Frozen weights are not divided.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from act3d.engine import processes
from act3d.errors import ConfigError


def check_sharding() -> None:
    """Check that this torch can divide a model.

    Raises:
        ConfigError: it is too old.
    """
    try:
        from torch.distributed.fsdp import fully_shard

        known = inspect.signature(fully_shard).parameters
    except ImportError:
        known = {}  # type: ignore[assignment]
    if "ignored_params" not in known:
        raise ConfigError(f"trainer.strategy: fsdp needs torch 2.7 or newer; this is {torch.__version__}; use ddp")


def shard(step: nn.Module, mesh: Any) -> nn.Module:
    """Divide the trained weights of a step's model among the processes of a mesh, all beginning with the first one's.

    Raises:
        ConfigError: a scalar is trained, which torch does not divide.
    """
    from torch.distributed.fsdp import fully_shard

    for name, parameter in step.named_parameters():
        if parameter.requires_grad and not parameter.ndim:
            raise ConfigError(
                f"trainer.strategy: fsdp divides tensors; the model's {name.removeprefix('model.')} is a scalar that "
                "trains: give it the shape (1,), or use ddp"
            )
    processes.share_weights(step)
    options = {
        "mesh": mesh["data_parallel"],
        "ignored_params": {parameter for parameter in step.parameters() if not parameter.requires_grad},
    }
    blocks = [block for module in step.modules() for block in getattr(module, "blocks", ())]
    for block in blocks:
        if any(parameter.requires_grad for parameter in block.parameters()):
            fully_shard(block, **options)
    fully_shard(step, **options)
    with torch.no_grad():
        step(dict)  # the first forward pass tells torch which module holds all others
    _part(step)
    return step


def _divided(model: nn.Module) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _part(step: nn.Module) -> None:
    """Let every process keep its part only; in a step, gather a block's weights when they are needed."""
    for module in _divided(step):
        module.set_reshard_after_forward(module is not step, recurse=False)
        module.reshard()


@contextmanager
def whole(step: nn.Module) -> Iterator[None]:
    """Let every process hold all weights, so that each may evaluate as often as it likes, or alone.

    All processes must enter. A state_dict may not be taken or loaded inside: torch would divide the weights again.
    """
    for module in _divided(step):
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    with torch.no_grad():
        for parameter in step.parameters():
            if parameter.requires_grad:
                parameter.mul_(1)  # a new version: torch does not count what it gathers, and models keep results by it
    try:
        yield
    finally:
        _part(step)


def gathered(value: Any) -> Any:
    """Return a state (dictionaries, lists, tensors) with whole tensors, on the CPU; None instead of them in processes
    other than the first. All processes must call. What is not divided stays as it is."""
    if isinstance(value, dict):
        return {key: gathered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [gathered(item) for item in value]
    if not hasattr(value, "full_tensor"):
        return value
    every = processes.whole_tensor(value.detach())
    return every.cpu() if processes.rank() == 0 else None


def divided_like(value: Any, parameter: Tensor) -> Any:
    """Return this process's part of a moment (shape of the parameter), where the parameter is divided."""
    if not hasattr(parameter, "full_tensor") or not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, parameter.device_mesh, parameter.placements)  # type: ignore[attr-defined]

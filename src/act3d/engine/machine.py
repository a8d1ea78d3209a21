"""What a run computes on: checked before anything is opened, and taken by Fabric when training begins."""

import logging
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from act3d.device import best_device
from act3d.errors import ConfigError
from act3d.settings.training import TrainerConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


class Step(nn.Module):
    """What Fabric wraps: precision and the exchange of gradients happen around `compute`. Points are not cast."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return what `compute` returns."""
        return compute()


def accelerator(plan: TrainerConfig) -> str:
    """Return the kind of device that a run computes on: cpu, cuda or mps."""
    return best_device() if plan.accelerator == "auto" else plan.accelerator


def check_machine(plan: TrainerConfig) -> None:
    """Check what the settings ask of this machine.

    Raises:
        ConfigError: no such device, or not as many; something that needs CUDA on the CPU; a launcher that started
            another number of processes than `trainer.devices`.
    """
    kind = accelerator(plan)
    if kind == "cuda":
        found = torch.cuda.device_count()
        if plan.devices > found:
            raise ConfigError(f"trainer.devices: {plan.devices} asked for; this machine has {found} CUDA devices")
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("trainer.accelerator: mps needs a Mac with Apple's GPU; use auto")
    elif kind == "mps" and plan.devices > 1:
        raise ConfigError(f"trainer.devices: {plan.devices} asked for; MPS has one device")
    elif plan.precision == "fp16":
        raise ConfigError(f"trainer.precision: fp16 needs CUDA; on {'the CPU' if kind == 'cpu' else 'MPS'} use fp32")
    elif plan.sync_batchnorm and plan.devices > 1:
        raise ConfigError("trainer.sync_batchnorm: true needs CUDA; on the CPU use false")
    _check_launcher(plan.devices)


def _check_launcher(devices: int) -> None:
    """Compare `trainer.devices` with what a launcher (torchrun, srun, Fabric's own) has put into the environment."""
    if "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        tasks, nodes = _slurm("SLURM_NTASKS", 1), _slurm("SLURM_NNODES", 1)
        for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
            _slurm(name, 0)
        # One device and many tasks are as many runs of their own, such as one a seed.
        if devices > 1 and tasks != devices * nodes:
            raise ConfigError(
                f"trainer.devices: {devices} on {nodes} nodes need {devices * nodes} SLURM tasks; there are {tasks}; "
                f"use srun --ntasks-per-node={devices}"
            )
        return
    given = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if name in os.environ}
    numbers = {name: int(value) if value.isdecimal() else -1 for name, value in given.items()}
    world, place = numbers.get("WORLD_SIZE", 1), max(numbers.get("RANK", 0), numbers.get("LOCAL_RANK", 0))
    started = "LOCAL_RANK" in given and "MASTER_PORT" in os.environ and world > 1
    if (
        min(numbers.values(), default=0) < 0
        or (place and not started)
        or (world > 1 and world % devices)
        or (world > 1 and devices == 1)
    ):
        words = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ConfigError(
            f"trainer.devices: {devices}, but the environment says {words}, as a launcher such as torchrun sets it; "
            "start as many processes as devices, or unset these variables"
        )


def _slurm(name: str, least: int) -> int:
    """Return a number that SLURM has put into the environment; `least` where it has not.

    Raises:
        ConfigError: it is no number, or a smaller one.
    """
    text = os.environ.get(name, str(least))
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"trainer.devices: the environment says {name}={text!r}, which SLURM never sets; unset it")
    return int(text)


def launch(plan: TrainerConfig, find_unused: bool = False) -> "Fabric":
    """Return Fabric with all processes of a run started; several processes go through the same lines from here on.

    Args:
        plan: accelerator, devices and precision.
        find_unused: some parameters get no gradient, which several processes must be told.
    """
    from lightning_fabric import Fabric  # seconds of import
    from lightning_fabric.plugins.environments import LightningEnvironment

    _quiet()
    if accelerator(plan) == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32 in products of float32 matrices
    if plan.devices == 1:
        strategy, nodes = "auto", 1
    else:
        tasks = os.environ.get("SLURM_NTASKS", os.environ.get("WORLD_SIZE", str(plan.devices)))
        strategy, nodes = "ddp_find_unused_parameters_true" if find_unused else "ddp", int(tasks) // plan.devices
        if "SLURM_NTASKS" in os.environ:  # Fabric asks for it also where `srun --ntasks` says the same
            os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(plan.devices))
    options: dict[str, Any] = {
        "strategy": strategy,
        "num_nodes": max(1, nodes),
        "precision": PRECISIONS[plan.precision],
        # A run on one device is a run of its own, also where a cluster has started more tasks than this one.
        "plugins": [LightningEnvironment()] if plan.devices == 1 else None,
    }
    fabric = Fabric(accelerator=accelerator(plan), devices=plan.devices, **options)
    fabric.launch()
    return fabric


def _quiet() -> None:
    """Keep Fabric's tips off the terminal; its warnings and errors still come through."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")

"""What a run computes on: checked before anything is opened, and taken by Fabric when training begins."""

import atexit
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from act3d.device import best_device
from act3d.engine import processes
from act3d.engine.sharding import check_sharding, shard
from act3d.errors import ConfigError
from act3d.lines import say
from act3d.settings.training import TrainerConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.strategy import Strategy

PATIENCE = timedelta(hours=2)
TELL_AFTER = 60.0  # seconds
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
    if plan.sharded:
        check_sharding()
    _check_launcher(plan)


def _check_launcher(plan: TrainerConfig) -> None:
    """Compare devices and nodes with what a launcher (torchrun, srun, Fabric's own) has put into the environment."""
    devices = plan.devices
    if by_slurm():
        tasks, nodes = _slurm("SLURM_NTASKS", 1), _slurm("SLURM_NNODES", 1)
        for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
            _slurm(name, 0)
        # One device and many tasks are as many runs of their own, such as one a seed.
        if plan.nodes and plan.nodes != nodes:
            raise ConfigError(f"trainer.nodes: {plan.nodes}, but SLURM gave {nodes} (SLURM_NNODES); leave it out")
        if plan.joined and tasks != devices * nodes:
            raise ConfigError(
                f"trainer.devices: {devices} on {nodes} nodes need {devices * nodes} SLURM tasks; there are {tasks}; "
                f"use srun --ntasks-per-node={devices}"
            )
        return
    given = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if name in os.environ}
    numbers = {name: int(value) if value.isdecimal() else -1 for name, value in given.items()}
    world, place = numbers.get("WORLD_SIZE", 1), max(numbers.get("RANK", 0), numbers.get("LOCAL_RANK", 0))
    started = "LOCAL_RANK" in given and "MASTER_PORT" in os.environ and world > 1
    wanted = devices * plan.nodes or world // devices * devices  # nodes: 0 = as many as there are
    if min(numbers.values(), default=0) < 0 or (place and not started) or (world > 1 and world != wanted):
        _refuse(plan, given)
    if world > 1 and not plan.joined:
        _refuse(plan, given)
    if plan.nodes > 1 and world == 1:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
        if missing:
            raise ConfigError(
                f"trainer.nodes: {plan.nodes} machines need a launcher, such as torchrun or srun, or the same command "
                f"on each with MASTER_ADDR, MASTER_PORT and NODE_RANK; missing: {', '.join(missing)}"
            )


def _refuse(plan: TrainerConfig, given: dict[str, str]) -> NoReturn:
    words = ", ".join(f"{name}={value}" for name, value in given.items())
    raise ConfigError(
        f"trainer.devices: {plan.devices}{f' on {plan.nodes} nodes' * (plan.nodes > 0)}, but the environment says "
        f"{words}, as a launcher such as torchrun sets it; start as many processes as devices times trainer.nodes, or "
        "unset these variables"
    )


def by_slurm() -> bool:
    """Tell whether this process is a task of a SLURM job; a shell inside an interactive one is none."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


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
    nodes = 1
    if plan.joined:
        tasks = os.environ.get("SLURM_NTASKS", os.environ.get("WORLD_SIZE", str(plan.devices)))
        nodes = plan.nodes or max(1, int(tasks) // plan.devices)
        if "SLURM_NTASKS" in os.environ:  # Fabric asks for it also where `srun --ntasks` says the same
            os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(plan.devices))
    options: dict[str, Any] = {
        "strategy": _strategy(plan, nodes, find_unused) if plan.joined else "auto",
        "num_nodes": nodes,
        "precision": PRECISIONS[plan.precision],
        "plugins": None if plan.joined else [LightningEnvironment()],
    }
    fabric = Fabric(accelerator=accelerator(plan), devices=plan.devices, **options)
    with _told_of_waiting(plan.devices * nodes) if plan.joined else nullcontext():
        fabric.launch()
    if plan.joined:
        atexit.register(processes.leave)
    return fabric


@contextmanager
def _told_of_waiting(count: int) -> Iterator[None]:
    """Say so when the other processes do not come for a while: they may never, and that takes as long as PATIENCE."""
    text = f"act3d: waits for all {count} processes of this run; was each started, and do their machines see others?"
    told = threading.Timer(TELL_AFTER, say, [text, True])
    told.daemon = True
    told.start()
    try:
        yield
    finally:
        told.cancel()


def _strategy(plan: TrainerConfig, nodes: int, find_unused: bool) -> "Strategy":
    """Return how processes share the work. They wait for each other for longer than the first one may evaluate."""
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

    if plan.sharded:  # Fabric's FSDPStrategy refuses the CPU, where this one is tested
        return ModelParallelStrategy(
            shard, data_parallel_size=plan.devices * nodes, tensor_parallel_size=1, timeout=PATIENCE
        )
    return DDPStrategy(timeout=PATIENCE, find_unused_parameters=find_unused)


class _Ended(logging.Handler):
    """Says why Fabric ends this process: one that it has started has ended, while this one waits or computes."""

    def emit(self, record: logging.LogRecord) -> None:
        say(
            "act3d: error: another process of this run has ended, so this one ends too; go on from the last state by "
            "--resume",
            error=True,
        )


def _quiet() -> None:
    """Keep Fabric's tips off the terminal; its warnings and errors still come through, and why it ends a process."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    watch = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
    watch.setLevel(logging.INFO)  # it says nothing else
    watch.propagate, watch.handlers = False, [_Ended()]
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")  # where SLURM is installed
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")

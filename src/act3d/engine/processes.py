"""Exchange between processes; with one process, none. Fabric forms their group (see `machine`)."""

import atexit
import contextlib
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import torch


def formed() -> bool:
    """Tell whether this process belongs to a group, which may be of one process only."""
    if "torch.distributed" not in sys.modules:  # commands that need no torch ask too
        return False
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def active() -> bool:
    """Tell whether this process is one of several that train together."""
    return world() > 1


def rank() -> int:
    """Return this process's number; 0 before the group has formed."""
    if not active():
        return 0
    import torch.distributed as dist

    return dist.get_rank()


def world() -> int:
    """Return how many processes train together."""
    if not formed():
        return 1
    import torch.distributed as dist

    return dist.get_world_size()


def sum_over_processes(values: "torch.Tensor") -> "torch.Tensor":
    """Return the sum of a tensor over all processes."""
    if active():
        import torch.distributed as dist

        values = values.clone()
        dist.all_reduce(values)
    return values


def gather_objects(value: Any) -> list[Any]:
    """Return every process's value, in the order of processes."""
    if not active():
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def gather_rows(values: "torch.Tensor") -> "torch.Tensor":
    """Return the rows (B, ...) of all processes, one after the other, without gradients; B must be the same in all."""
    if not active():
        return values
    import torch
    import torch.distributed as dist

    parts = [torch.empty_like(values) for _ in range(world())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def share_buffers(model: "torch.nn.Module") -> None:
    """Give all processes the first one's buffers (batch statistics), so that they evaluate the same model."""
    if active():
        import torch.distributed as dist

        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def share_weights(model: "torch.nn.Module") -> None:
    """Give all processes the first one's parameters and buffers."""
    if active():
        import torch.distributed as dist

        for value in model.state_dict().values():
            dist.broadcast(value, 0)


def whole_tensor(values: "torch.Tensor") -> "torch.Tensor":
    """Return a tensor of which every process holds a part (a DTensor), gathered from all; another one as it is."""
    whole: torch.Tensor = values.full_tensor() if hasattr(values, "full_tensor") else values
    return whole


def own_part(values: "torch.Tensor") -> "torch.Tensor":
    """Return the part of a divided tensor that this process holds; another one as it is."""
    part: torch.Tensor = values.to_local() if hasattr(values, "to_local") else values
    return part


def average_buffers(modules: "Iterable[torch.nn.Module]") -> None:
    """Set the floating-point buffers of modules to their mean over all processes."""
    if active():
        for buffer in (buffer for module in modules for buffer in module.buffers() if buffer.is_floating_point()):
            buffer.copy_(sum_over_processes(buffer) / world())


def leave() -> None:
    """Leave the group of processes. Its threads must end before the process does, or the process aborts."""
    if formed():
        import torch.distributed as dist

        dist.destroy_process_group()


def end(code: int) -> NoReturn:
    """End this process with an exit code, as multiprocessing ends its own: exit functions run, output is written.

    What the interpreter does besides at its end is left out: torch's threads may still hold tensors then, and need the
    interpreter to let them go, so that now and then a process aborts, or never ends (pytorch issue 190489).
    """
    if code:  # others may be in the middle of an exchange, which leaving would wait for
        atexit.unregister(leave)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed pipe or stream
            stream.flush()
    os._exit(code)


def tells_of_loss(error: Exception) -> bool:
    """Tell whether an error means that another process has ended or cannot be reached."""
    import torch.distributed as dist

    marks = ("by peer", "gloo", "Broken pipe", "NCCL", "TCPStore", "connectFullMesh")
    return isinstance(error, dist.DistError) or any(mark in str(error) for mark in marks)

"""What this process takes of the machine's cores and memory, settled once: before the first tensor is computed."""

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from act3d import waiting

Given = TypeVar("Given")
Result = TypeVar("Result")

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


@dataclass(frozen=True)
class Settled:
    """What was chosen, in words: threads and why so many, how they wait, what happens to freed memory."""

    threads: str
    memory: str
    watched: waiting.Waiting | None

    def report(self) -> dict[str, str]:
        """For `act3d doctor`."""
        return {"threads": self.threads, "waiting threads": self._waiting(), "freed memory": self.memory}

    def _waiting(self) -> str:
        if self.watched is not None:
            now = "spin" if self.watched.spins else "sleep"
            return f"spin where cores are free, sleep at once where other programs use them (now: {now})"
        chosen = waiting.chosen_by_user()
        return f"{chosen}, as you set it" if chosen else "as OpenMP does it"


@functools.cache
def settle() -> Settled:
    """Choose threads, how they wait, and what happens to freed memory. Settings of OpenMP and glibc by the user stay.

    Called when `act3d.kernels` is imported, as all that computes does.
    """
    import torch

    threads = _fit_threads()
    return Settled(threads, keep_freed_memory(), waiting.watch(torch.get_num_threads()))


def _fit_threads() -> str:
    """Take no more threads than a container's quota of processor time allows; say how many there are, and why."""
    import torch

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            return f"{torch.get_num_threads()} ({name}={os.environ[name]})"
    allowed = quota()
    if allowed is not None and torch.get_num_threads() > max(1, int(allowed)):
        # More threads would use up the quota of a tenth of a second sooner, and then all stand still together.
        torch.set_num_threads(max(1, int(allowed)))
        return f"{torch.get_num_threads()} (this container may use {allowed:g} cores)"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{torch.get_num_threads()} (torch's choice; {usable} of {os.cpu_count()} cores may be used)"


def at_once(work: Callable[[Given], Result], items: Sequence[Given]) -> list[Result]:
    """Do a work for every item, as many at a time as torch has threads; each computes its NumPy products on one thread.

    Small products gain little from threads of their own. NumPy's threads wait for each other in a loop, too: beside
    other programs, two of them took 30 to 50 times as long as one (benchmarks/RESULTS.md).

    Returns:
        The results in the order of the items: the same as one after another.
    """
    import torch
    from threadpoolctl import threadpool_limits

    workers = min(torch.get_num_threads(), len(items))
    with threadpool_limits(1, user_api="blas"):
        if workers < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(work, items))


def quota(root: Path = Path("/")) -> float | None:
    """Cores that control groups (v1 and v2) let this process use on average; None without a limit.

    Args:
        root: where `proc` and `sys` are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(place.lstrip("/"))
        bases = {controllers, "cpu"} if controllers else {"", "unified"}
        # The limits of all groups above count too; a container sees its own group as the uppermost one.
        found += [_limit(root / "sys/fs/cgroup" / base / above) for base in bases for above in (group, *group.parents)]
    return min((limit for limit in found if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    """Cores that one control group may use."""
    try:
        if (group / "cpu.max").exists():
            share, period = (group / "cpu.max").read_text().split()  # "max 100000": no limit
        else:
            share, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(share) / int(period) if int(share) > 0 else None  # -1: no limit
    except (OSError, ValueError):
        return None


def keep_freed_memory() -> str:
    """Let glibc keep the memory that tensors free; say what was done.

    A tensor of more than 128 KB is else given back to the system when it is freed, and the next one comes as pages
    that the system must fill with zeros again: a twentieth of a step's time at batch 8, a fifth at batch 128. The
    price is a higher peak, as free pieces do not always fit: none at batch 8, a quarter at 128 (benchmarks/RESULTS.md).
    """
    chosen = [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]
    if chosen:
        return f"{', '.join(sorted(chosen))}, as you set it"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # musl has none
    if mallopt is None:
        return "as this system does it"
    # No mapping of its own for every large tensor; glibc before 2.35 takes at most 32 MB.
    mapped = mallopt(_M_MMAP_THRESHOLD, 1 << 30) or mallopt(_M_MMAP_THRESHOLD, 1 << 25)
    return "kept for the next tensors" if mapped and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1) else "as glibc does it"

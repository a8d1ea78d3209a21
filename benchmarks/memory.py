"""A step in a process of its own: python -m benchmarks.memory BUILDER BATCH POINTS PATCHES DEVICE REPEATS CLOCK.

Prints as JSON its median seconds and its megabytes: on CUDA the allocator's peak, on the CPU the peak
resident set after the steps minus the one before the model was built (threads, libraries). So it counts weights,
optimizer state and activations. Slow steps are repeated less often: no new one starts after 10 seconds.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import steps
from benchmarks.measure import seconds

_ENOUGH = 10.0  # seconds


class Alone(NamedTuple):
    """Median seconds of a step after the first, and its peak memory."""

    seconds: float
    megabytes: float


def of_step(builder: str, setting: steps.Setting, repeats: int = 1, clock: str = "wall") -> Alone | None:
    """Measure a step alone; None if it ran out of memory.

    Raises:
        RuntimeError: it failed in another way; with its last line.
    """
    sizes = [str(value) for value in (setting.batch, setting.points, setting.patches, setting.device, repeats)]
    command = [sys.executable, "-m", "benchmarks.memory", builder, *sizes, clock]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Alone(**json.loads(done.stdout))
    if done.returncode < 0 or "memory" in done.stderr.lower():  # killed, or refused by an allocator
        return None
    said = done.stderr.strip().splitlines() or ["no message"]
    raise RuntimeError(f"{builder} {' '.join(sizes)} failed: {said[-1]}")


def _peak() -> float:
    """Megabytes. Not by getrusage on Linux: there a process starts with the peak of the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(builder: str, batch: str, points: str, patches: str, device: str, repeats: str, clock: str) -> None:
    """Measure one step and print the numbers."""
    setting = steps.Setting(torch.device(device), int(batch), int(points), int(patches))
    before = _peak()
    step = getattr(steps, builder)(setting)
    step()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < int(repeats) and (not times or time.perf_counter() - start < _ENOUGH):
        times.append(seconds(step, setting.device, clock))
    peak = torch.cuda.max_memory_allocated() / 2**20 if setting.device.type == "cuda" else _peak() - before
    print(json.dumps(Alone(statistics.median(times), round(peak, 1))._asdict()))


if __name__ == "__main__":
    main(*sys.argv[1:])

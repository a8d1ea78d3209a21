"""Peak memory of one step, in a process of its own: python -m benchmarks.memory BUILDER BATCH POINTS PATCHES DEVICE.

Prints megabytes: on CUDA what the allocator held at most, on the CPU the peak resident set after the step less the one
before the model was built (threads, libraries). So it counts weights, optimizer state and activations.
"""

import resource
import subprocess
import sys

import torch

from benchmarks import steps


def of_step(builder: str, setting: steps.Setting) -> float | None:
    """Megabytes of a step; None if it failed (out of memory)."""
    sizes = [str(value) for value in (setting.batch, setting.points, setting.patches, setting.device)]
    command = [sys.executable, "-m", "benchmarks.memory", builder, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(builder: str, batch: str, points: str, patches: str, device: str) -> None:
    """Measure one step and print the number."""
    setting = steps.Setting(torch.device(device), int(batch), int(points), int(patches))
    before = _peak()
    step = getattr(steps, builder)(setting)
    for _ in range(2):
        step()
    peak = torch.cuda.max_memory_allocated() / 2**20 if setting.device.type == "cuda" else _peak() - before
    print(round(peak, 1))


if __name__ == "__main__":
    main(*sys.argv[1:])

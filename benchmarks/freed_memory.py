"""Freed memory kept or given back: `python -m benchmarks --only freed_memory`.

A stage II step at several batch sizes, in processes of their own (python -m benchmarks.freed_memory BATCH) with one
thread, in turn: as glibc does it, and with freed memory kept, as `act3d.processor` has it.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

BATCHES = (8, 32, 128)
# glibc's own default of a setting that changes nothing: act3d leaves alone what the user has set.
AS_GLIBC = {"MALLOC_PERTURB_": "0"}


def table(repeats: int, quick: bool) -> Iterator[dict[str, Any]]:
    """One row a batch size: clouds a processor second and megabytes faulted in a step, both ways; ratio and spread."""
    for batch in BATCHES[:1] if quick else BATCHES:
        pairs = [(_alone(batch, AS_GLIBC), _alone(batch, {})) for _ in range(min(repeats, 3))]
        ratios = [kept["rate"] / back["rate"] for back, kept in pairs]
        row: dict[str, Any] = {"name": "stage2_step", "batch": batch, "ratio": statistics.median(ratios)}
        row["spread"] = (max(ratios) - min(ratios)) / row["ratio"]
        for name in ("rate", "faulted_mb", "peak_mb"):
            row[name] = [statistics.median(pair[way][name] for pair in pairs) for way in (0, 1)]
        yield row


def show(row: dict[str, Any]) -> str:
    """One line of the table."""
    rate, faulted, peak = (
        " -> ".join(f"{value:.4g}" for value in row[key]) for key in ("rate", "faulted_mb", "peak_mb")
    )
    return (
        f"{row['name']:<14}batch {row['batch']:<5}{rate} clouds a processor second ({row['ratio']:.2f}, spread "
        f"{row['spread']:.0%})   {faulted} MB faulted in a step   peak {peak} MB"
    )


def _alone(batch: int, environment: dict[str, str]) -> dict[str, float]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-m", "benchmarks.freed_memory", str(batch)]
    threads = {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=clean | threads | environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure in this process, and print."""
    import torch

    from benchmarks import steps

    batch = int(sys.argv[1])
    step = steps.stage2_ours(steps.Setting(torch.device("cpu"), batch))
    step()
    times, faults = [], []
    for _ in range(2 if batch > 32 else 4):
        used, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step()
        times.append(time.process_time() - used)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    faulted = statistics.median(faults) * resource.getpagesize() / 1e6
    print(json.dumps({"rate": batch / statistics.median(times), "faulted_mb": faulted, "peak_mb": peak}))


if __name__ == "__main__":
    main()

"""Cost against size: seconds and memory of a stage II step of ours as points, patches and batch grow."""

from pathlib import Path
from typing import Any

import torch

from benchmarks import memory, steps
from benchmarks.measure import interleave


def settings(device: torch.device, quick: bool) -> list[tuple[str, int, steps.Setting]]:
    """(what grows, its value, the setting); the rest stays at the released sizes, with a small batch on the CPU."""
    batch = 8 if device.type == "cuda" else 2
    largest = 256 if device.type == "cuda" else 32
    points = (1024, 8192) if quick else (1024, 2048, 4096, 8192)
    patches = (64, 128) if quick else (64, 128, 256, 512)
    batches = (1, 4) if quick else tuple(n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n <= largest)
    found = [("points", n, steps.Setting(device, batch, points=n)) for n in points]
    found += [("patches", n, steps.Setting(device, batch, points=8192, patches=n)) for n in patches]
    return found + [("batch", n, steps.Setting(device, n)) for n in batches]


def table(device: torch.device, repeats: int, quick: bool, clock: str) -> list[dict[str, Any]]:
    """One row a size: seconds a step, steps a second, clouds a second, megabytes (None: did not fit)."""
    rows = []
    for what, value, setting in settings(device, quick):
        times = interleave([steps.stage2_ours(setting)], repeats, device, clock)[0]
        seconds = sorted(times)[len(times) // 2]
        rows.append(
            {
                "grows": what,
                "value": value,
                "seconds": seconds,
                "steps_per_s": 1 / seconds,
                "clouds_per_s": setting.batch / seconds,
                "megabytes": None if quick else memory.of_step("stage2_ours", setting),
            }
        )
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds and megabytes against each size, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for what in ("points", "patches", "batch"):
        chosen = [row for row in rows if row["grows"] == what]
        for axis, key in zip(axes, ("seconds", "megabytes"), strict=True):
            known = [row for row in chosen if row[key] is not None]
            axis.loglog([row["value"] for row in known], [row[key] for row in known], "o-", label=what)
            axis.set_ylabel(f"{key} of a stage II step")
    axes[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)

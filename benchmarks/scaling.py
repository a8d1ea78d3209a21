"""Cost against size: seconds and memory of a stage II step of ours as points, patches and batch grow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import memory, steps


def settings(device: torch.device, quick: bool) -> list[tuple[str, int, steps.Setting]]:
    """(what grows, its value, the setting); the rest stays at the released sizes, with a small batch on the CPU."""
    batch = 8 if device.type == "cuda" else 2
    points = (1024, 8192) if quick else (1024, 2048, 4096, 8192)
    patches = (64, 128) if quick else (64, 128, 256, 512)
    batches = (1, 4) if quick else (1, 2, 4, 8, 16, 32, 64, 128, 256)
    found = [("points", n, steps.Setting(device, batch, points=n)) for n in points]
    found += [("patches", n, steps.Setting(device, batch, points=8192, patches=n)) for n in patches]
    return found + [("batch", n, steps.Setting(device, n)) for n in batches]


def table(device: torch.device, repeats: int, quick: bool, clock: str) -> Iterator[dict[str, Any]]:
    """One row a size: seconds a step, steps a second, clouds a second, megabytes (all None: did not fit)."""
    for what, value, setting in settings(device, quick):
        row: dict[str, Any] = dict.fromkeys(("seconds", "steps_per_s", "clouds_per_s", "megabytes"))
        alone = memory.of_step("stage2_ours", setting, repeats, clock)
        if alone is not None:
            rates = {"steps_per_s": 1 / alone.seconds, "clouds_per_s": setting.batch / alone.seconds}
            row |= {**alone._asdict(), **rates}
        yield {"grows": what, "value": value, **row}


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
            axis.set_xlabel("size")
            axis.set_ylabel(f"{key} of a stage II step")
    axes[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)

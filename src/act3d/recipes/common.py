"""What the training commands share around `training.fit.run`."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from act3d.engine.run_folder import RunFolder, RunResult
from act3d.settings.training import TrainerConfig

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset


def finished_run(folder: RunFolder, plan: TrainerConfig) -> RunResult | None:
    """Return the result of a run that has nothing left to do, after saying so; None when there is something to do."""
    if not folder.finished:
        return None
    result = folder.read_results()
    epochs, steps = result.metrics.get("epochs", 0), result.metrics.get("steps", 0)
    if epochs < plan.epochs and not (plan.max_steps and steps >= plan.max_steps):
        return None
    print(
        f"{folder.path} is finished ({epochs} epochs, {steps} steps); to train longer, raise --trainer.epochs"
        + (" and --trainer.max_steps" if plan.max_steps else ""),
        file=sys.stderr,
    )
    return result


def shortened(plan: TrainerConfig) -> TrainerConfig:
    """Return the plan, cut to two steps of one epoch if it asks for a fast run."""
    return dataclasses.replace(plan, epochs=1, max_steps=2, log_every=1) if plan.fast_dev_run else plan


def checkpoint_meta(clouds: "CloudDataset", command: str, seed: int, protocol: str) -> dict[str, Any]:
    """Return the facts that travel with native weights: how clouds were treated, and what they were."""
    kept: Mapping[str, Any] = clouds.meta
    return {
        "command": command,
        "classes": list(clouds.classes),
        "points": clouds.points,
        "normalization": kept.get("normalization"),
        "up": kept.get("up"),
        "source_up": kept.get("source_up"),
        "scale": kept.get("scale"),
        "licence": kept.get("licence"),
        "data": {"name": clouds.name, "fingerprint": clouds.fingerprint},
        "seed": seed,
        "protocol": protocol,
    }

"""A resumed run beside what it was: other data are refused, other settings are said aloud."""

from typing import Any

from act3d.engine.recipe import Recipe
from act3d.errors import InputError
from act3d.presets import flatten
from act3d.settings.model import to_dict

BATCHES = ("batch_size", "accumulate", "processes")  # what decides which clouds make a step
# Not said: where a run lies, how long it is asked to train, and files that a resumed run does not read.
EXPECTED = ("out", "resume", "trainer.epochs", "trainer.max_steps", "checkpoint", "teacher.checkpoint", "logger")


def description(recipe: Recipe, processes: int) -> dict[str, Any]:
    """Return what a resumed run is compared with; it is saved with the state."""
    clouds = recipe.clouds
    return {
        "data": clouds.name,
        "fingerprint": clouds.fingerprint,
        "classes": list(clouds.classes),
        "clouds": len(clouds),
        "weights": list(getattr(recipe.data, "weights", [])),
        "seed": recipe.seed,
        "batch_size": recipe.data.batch_size,
        "accumulate": recipe.plan.accumulate,
        "processes": processes,
        "settings": {key: value for key, value in flatten(to_dict(recipe.settings)).items() if key not in EXPECTED},
    }


def changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words what is no longer as it was. Runs of older versions say less of what they were, or nothing.

    Raises:
        InputError: other data, other class names, or other weights of the datasets.
    """
    for name, what in (("fingerprint", "data"), ("classes", "class names"), ("weights", "data.weights")):
        if name in then and then[name] != now[name]:
            raise InputError(
                f"resume: the run has other {what}: {then['data']} ({then[name]}) when it began, "
                f"{now['data']} ({now[name]}) now; give what it was trained on, or begin another by --out"
            )
    names = ("processes", "clouds") if "settings" in then else ("seed", *BATCHES, "clouds")
    was, new = ({**{name: of[name] for name in names if name in of}, **of.get("settings", {})} for of in (then, now))
    return [f"{key} was {was[key]}, now it is {new[key]}" for key in was if key in new and was[key] != new[key]]


def batches_behind(batch: int, then: dict[str, Any], now: dict[str, Any], batches: int) -> int:
    """Return how many batches of the current epoch are behind a run, when batches may have another size than before.

    Args:
        batch: batches of the old size behind it.
        then, now: see `description`.
        batches: batches of an epoch now.
    """
    if all(then.get(name, now[name]) == now[name] for name in BATCHES):
        return batch
    clouds = batch * then["batch_size"] * then["processes"]
    behind = min(clouds // (now["batch_size"] * now["processes"]), batches)
    return behind if behind == batches else behind // int(now["accumulate"]) * int(now["accumulate"])

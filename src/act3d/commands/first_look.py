"""The first half of `act3d quickstart`: the encoder that comes with act3d, on furniture that it has not seen."""

from pathlib import Path
from typing import Any

from act3d.known_models import SHIPPED
from act3d.lines import say
from act3d.samples import FURNITURE
from act3d.settings.layers import resolve
from act3d.settings.tasks import FewshotSettings, FinetuneSettings
from act3d.tables import Table

FEW, TUNED = "small/fewshot", "small/finetune"  # presets
TASKS = 2  # few-shot; from scratch each takes a training


def look_at_furniture(folder: Path, whole: str) -> Path:
    """Print what the shipped encoder does with furniture, write a page of it, and return the page.

    Args:
        folder: of the quickstart.
        whole: the command line that goes on with it.

    Raises:
        Interrupted: by a signal, after everything was saved.
        MissingDependency: the text Transformer is not installed.
    """
    from act3d.files import write_json
    from act3d.report.first_look import HEADER, rows, write_first_look
    from act3d.use.first_look import KINDS, SHOT, WAY, first_look

    say(f"{SHIPPED}, the encoder that comes with act3d, on furniture that it has not seen", error=True)
    look = first_look(TASKS)
    say("For comparison: a classifier from scratch, on few labels", error=True)
    few = train_few(folder / "furniture-few", WAY, SHOT, whole)
    say(f"{SHIPPED} is fine-tuned on the labels of {look.train_shapes} shapes", error=True)
    tuned = fine_tuned(folder / "furniture-tuned", whole)
    say()
    say(f"{SHIPPED} on {look.test_shapes} pieces of furniture it has not seen ({len(look.classes)} classes)")
    say(f"named by words alone, without any training: {look.zero_shot:.1f} % right")
    table = rows(look, KINDS)
    Table(HEADER, [*table, ["a classifier from scratch", "", "", "", f"{few:.1f}"]], strong=(0,)).print()
    say(f"fine-tuned on the labels of {look.train_shapes} shapes: {tuned:.1f} % right")
    page = write_first_look(folder / "furniture.html", look, KINDS, few, tuned, SHIPPED)
    write_json(
        folder / "furniture.json",
        {"zero_shot": look.zero_shot, "kinds": look.kinds, "few_from_scratch": few, "fine_tuned": tuned},
    )
    say(f"The page, with pictures: {page}")
    say()
    return page


def fine_tuned(out: Path, whole: str) -> float:
    """Fine-tune the shipped encoder on all labels, and return the percent of test shapes right."""
    from act3d.commands.finetune import finetune
    from act3d.engine.stage import run_stage

    settings = resolve(FinetuneSettings, _given(out) | {"checkpoint": SHIPPED}, [TUNED])
    return float(run_stage(finetune, settings, whole).metrics["oa"])


def train_few(out: Path, way: int, shot: int, whole: str) -> float:
    """Train a classifier from scratch on few-shot tasks, and return the mean percent right."""
    from act3d.commands.fewshot import fewshot
    from act3d.engine.stage import run_stage

    tasks = {"ways": [way], "shots": [shot], "folds": TASKS}
    settings = resolve(FewshotSettings, _given(out) | {"tasks": tasks, "checkpoint": ""}, [FEW])
    (setting,) = run_stage(fewshot, settings, whole).metrics["settings"].values()
    return float(setting["mean"])


def _given(out: Path) -> dict[str, Any]:
    return {"out": str(out), "data": {"root": FURNITURE}, "seed": 0}

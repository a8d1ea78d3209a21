"""`act3d segment`: a pretrained encoder, or a fresh one, learns to label every point of shapes or rooms."""

from typing import Any

from act3d.engine.run_folder import RunFolder, RunResult, finished_run
from act3d.settings.command import command
from act3d.settings.segmentation import SegmenterConfig, SegmentSettings
from act3d.settings.training import DataConfig


@command
def segment(settings: SegmentSettings) -> RunResult:
    """Train a segmenter, or test one.

    Returns:
        Test metrics and where the weights lie.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        CheckpointError: the checkpoint is missing, damaged, or does not fit.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    folder = RunFolder(settings.out)
    folder.check(settings.resume)
    if settings.resume and (result := finished_run(folder, settings.trainer)):
        return result

    from act3d.engine.loop import train
    from act3d.engine.machine import check_machine

    check_machine(settings.trainer)
    if task_of(settings.data, settings.segmenter) == "scenes":
        from act3d.recipes.scenes import SceneTraining
        from act3d.report.room_picture import render_room

        recipe: Any = SceneTraining.build(settings, folder, settings.resume, render_room)
    else:
        from act3d.recipes.parts import PartTraining

        recipe = PartTraining.build(settings, folder, settings.resume)
    if settings.evaluate:
        return _evaluate(recipe, folder)
    result = folder.result(train(recipe, folder, settings.resume))
    print_result(result, recipe.clouds.name, recipe.facts["protocol_name"])
    return result


def task_of(data: DataConfig, segmenter: SegmenterConfig) -> str:
    """Return "parts" or "scenes"."""
    from act3d.data.rooms import find_rooms

    if segmenter.task != "auto":
        return segmenter.task
    return "parts" if find_rooms(data.root) is None else "scenes"


def _evaluate(recipe: Any, folder: RunFolder) -> RunResult:
    """Test given weights: no training; config.yaml and results.json like any run's."""
    import time

    from act3d.engine.machine import choose_training_device
    from act3d.errors import CheckpointError

    began = time.monotonic()
    if recipe.start["kind"] != "segmenter" or "fresh" in recipe.start:
        raise CheckpointError(f"checkpoint: {recipe.start['checkpoint']} is no segmenter of the data's labels")
    folder.begin(recipe.settings, "segment")
    device = choose_training_device(recipe.plan)
    recipe.model.to(device)
    recipe.to(device)
    metrics = recipe.test(folder) | {"weights": "given"}
    clouds = recipe.clouds
    folder.write_results(
        command="segment",
        protocol="given weights",
        metrics=metrics,
        seed=recipe.seed,
        data={"name": clouds.name, "fingerprint": clouds.fingerprint},
        duration_s=round(time.monotonic() - began, 1),
        **recipe.facts | {"protocol_name": "given weights"},
    )
    result = folder.result(metrics)
    print_result(result, clouds.name, "given weights")
    return result


def print_result(result: RunResult, dataset: str, how: str) -> None:
    """Print the tables that a run ends with."""
    from rich.console import Console
    from rich.table import Table

    m = result.metrics
    rows: dict[str, Any] = m.get("categories") or m.get("classes") or {}
    if not rows:
        return
    names = ("shapes", "miou") if "categories" in m else ("points", "iou", "accuracy")
    table = Table("category" if "categories" in m else "class", *names, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in rows.items():
        values = [row[key] for key in names]
        table.add_row(name, *("" if v is None else f"{v:.1f}" if isinstance(v, float) else str(v) for v in values))
    Console().print(table)
    if "categories" in m:
        text = f"instance mIoU {m['instance_miou']:.2f}, class mIoU {m['class_miou']:.2f}, accuracy {m['accuracy']:.2f}"
        if "votes" in m:
            text += f"; {m['votes']} votes: {m['instance_miou_voted']:.2f}, {m['class_miou_voted']:.2f}"
    else:
        text = f"whole rooms, {m['votes']} votes: mIoU {m['miou']:.2f}, mAcc {m['macc']:.2f}, OA {m['oa']:.2f}"
        b = m["blocks"]
        text += f"; blocks: {b['miou']:.2f}, {b['macc']:.2f}, {b['oa']:.2f}"
    print(f"{dataset}, {how}: {text}  ->  {result.out}")

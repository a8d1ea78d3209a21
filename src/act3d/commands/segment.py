"""`act3d segment`: a pretrained encoder, or a fresh one, learns to label every point of shapes or rooms."""

from typing import Any

from act3d.engine.run_folder import RunResult, open_run, starting
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.segmentation import SegmenterConfig, SegmentSettings
from act3d.settings.training import DataConfig
from act3d.supervision import supervision_note


@command
def segment(settings: SegmentSettings) -> RunResult:
    """Train a segmenter.

    Returns:
        Test metrics and the places of the weights.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        CheckpointError: the checkpoint is missing, damaged, or does not fit.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    folder, finished = open_run(settings)
    if finished:
        return finished

    with starting("segment", settings.trainer):
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
    result = folder.result(train(recipe, folder, settings.resume))
    print_result(result, recipe.clouds.name, recipe.facts["protocol_name"] + supervision_note(recipe.facts))
    return result


def task_of(data: DataConfig, segmenter: SegmenterConfig) -> str:
    """Return "parts" or "scenes"."""
    from act3d.data.rooms import find_rooms

    if segmenter.task != "auto":
        return segmenter.task
    return "parts" if find_rooms(data.root) is None else "scenes"


def print_result(result: RunResult, dataset: str, how: str) -> None:
    """Print the table and the line that a run ends with."""
    from act3d.evaluation.evaluating import segmentation_summary, segmentation_table

    if "categories" in result.metrics or "classes" in result.metrics:
        segmentation_table(result.metrics).print()
        say(f"{dataset}, {how}: {segmentation_summary(result.metrics)}  ->  {result.out}")

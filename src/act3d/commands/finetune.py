"""`act3d finetune`: a pretrained encoder, or a fresh one, becomes a classifier."""

from act3d.engine.run_folder import RunResult, open_run, starting
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.tasks import FinetuneSettings
from act3d.supervision import supervision_note


@command
def finetune(settings: FinetuneSettings) -> RunResult:
    """Fine-tune a classifier.

    Returns:
        Test metrics (oa, macc, per_class, confusion) and the places of the weights.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        CheckpointError: the checkpoint is missing, damaged, or has no point encoder.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    folder, finished = open_run(settings)
    if finished:
        return finished

    with starting("finetune", settings.trainer):
        from act3d.engine.loop import train
        from act3d.engine.machine import check_machine
        from act3d.recipes.classifier import ClassifierTraining

        check_machine(settings.trainer)
        recipe = ClassifierTraining.build(settings, folder, settings.resume)
    result = folder.result(train(recipe, folder, settings.resume))
    test = recipe.splits.test
    print_result(result, test.name, len(test), recipe.facts["protocol_name"] + supervision_note(recipe.facts))
    return result


def print_result(result: RunResult, dataset: str, clouds: int, how: str) -> None:
    """Print the line that a run ends with."""
    if "oa" in result.metrics:
        m = result.metrics
        say(f"{dataset}, {clouds} test clouds, {how}: OA {m['oa']:.2f} %, mAcc {m['macc']:.2f} %  ->  {result.out}")

"""`act3d pretrain`: stage II."""

from act3d.engine.run_folder import RunResult, open_run, starting
from act3d.settings.command import command
from act3d.settings.pretraining import PretrainSettings


@command
def pretrain(settings: PretrainSettings) -> RunResult:
    """Stage II: pretrain a 3D Transformer with the teacher's features.

    Returns:
        Final metrics and the places of the weights.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        CheckpointError: the teacher's file is missing, damaged, or no autoencoder.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    folder, finished = open_run(settings)
    if finished:
        return finished

    with starting("pretrain", settings.trainer):
        from act3d.engine.loop import train
        from act3d.engine.machine import check_machine
        from act3d.recipes.pretraining import build

        check_machine(settings.trainer)
        recipe = build(settings, folder, settings.resume)
    return folder.result(train(recipe, folder, settings.resume))

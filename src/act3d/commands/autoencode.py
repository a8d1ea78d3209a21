"""`act3d autoencode`: stage I."""

from act3d.engine.run_folder import RunResult, open_run, starting
from act3d.settings.command import command
from act3d.settings.pretraining import AutoencodeSettings


@command
def autoencode(settings: AutoencodeSettings) -> RunResult:
    """Stage I: turn a pretrained Transformer into a 3D teacher.

    Returns:
        Final metrics and the places of the weights.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    folder, finished = open_run(settings)
    if finished:
        return finished

    with starting("autoencode", settings.trainer):
        from act3d.engine.loop import train
        from act3d.engine.machine import check_machine
        from act3d.recipes.autoencoder import AutoencoderTraining

        check_machine(settings.trainer)
        recipe = AutoencoderTraining.build(settings)
    return folder.result(train(recipe, folder, settings.resume))

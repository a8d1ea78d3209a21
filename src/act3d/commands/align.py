"""`act3d align`: an encoder learns from the names of its shapes."""

from act3d.engine.run_folder import RunResult, open_run, starting
from act3d.settings.alignment import AlignSettings
from act3d.settings.command import command


@command
def align(settings: AlignSettings) -> RunResult:
    """Teach an encoder with the names of its shapes, by the frozen MiniLM text Transformer (name-supervised).

    Returns:
        Final metrics and where the weights lie.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used, or without texts.
        CheckpointError: the checkpoint is missing, damaged, or has no point encoder.
        MissingDependency: the text Transformer is not installed.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    folder, finished = open_run(settings)
    if finished:
        return finished

    with starting("align", settings.trainer):
        from act3d.engine.loop import train
        from act3d.engine.machine import check_machine
        from act3d.recipes.alignment import Alignment

        check_machine(settings.trainer)
        recipe = Alignment.build(settings, folder, settings.resume)
    return folder.result(train(recipe, folder, settings.resume))

"""A training that is one step of several: run it, go on with it, or take its result if it is finished."""

from collections.abc import Mapping
from typing import Any

from act3d.engine.run_folder import RunFolder, RunResult
from act3d.engine.signals import Interrupted
from act3d.errors import ConfigError
from act3d.lines import say
from act3d.presets import flatten, read_config
from act3d.settings.layers import resolve
from act3d.settings.training import TrainingSettings


def run_stage(run: Any, settings: TrainingSettings, whole: str) -> RunResult:
    """Run a training command, continue it, or return its result if it is finished.

    Args:
        run: the command.
        settings: of the command.
        whole: the command line that goes on with all steps, this one among them.

    Raises:
        ConfigError: the folder holds a run with other settings.
        Interrupted: by a signal, after everything was saved.
    """
    folder = RunFolder(settings.out)
    if folder.config.exists():
        found = resolve(type(settings), {}, [folder.config])
        changed = changed_sections(found, settings, flatten(read_config(folder.config)))
        if changed:
            raise ConfigError(
                f"out: {settings.out} was made with other settings ({', '.join(changed)}); add --fresh to start again"
            )
        # The run goes on as it began, also where newer presets have settings that its version did not have.
        own = {key: value for key, value in settings.model_dump().items() if key in ("out", "teacher")}
        settings = found.model_copy(update=own)
    if folder.finished:
        say(f"  {settings.out} is finished already", error=True)
        return folder.read_results()
    try:
        result: RunResult = run(settings.model_copy(update={"resume": folder.holds_run}))
    except Interrupted as stopped:
        raise stopped.by(whole) from None
    return result


_NO_OTHER_RECIPE = ("teacher.checkpoint", "trainer.sync_batchnorm")


def changed_sections(found: TrainingSettings, wanted: TrainingSettings, written: Mapping[str, Any]) -> list[str]:
    """Return the sections in which a run's settings differ from those that are wanted, or the table would mix recipes.

    Only settings that the run's file holds count: one of an older version lacks some. The path of the teacher does not
    count either: it changes when the folder is moved. Nor does what several processes share: these runs have one.
    """
    values = [flatten(settings.model_dump()) for settings in (found, wanted)]
    keys = [key for key in written if "." in key and key in values[0] and key not in _NO_OTHER_RECIPE]
    return sorted({key.partition(".")[0] for key in keys if values[0][key] != values[1][key]})

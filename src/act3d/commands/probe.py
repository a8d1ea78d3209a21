"""`act3d probe`: simple classifiers on frozen features, with and without pretraining."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from act3d.engine.run_folder import RunFolder, refuse_results
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.evaluation import ProbeSettings

if TYPE_CHECKING:
    from act3d.evaluation.frozen_encoder import ProbeReport


@command
def probe(settings: ProbeSettings) -> "ProbeReport":
    """Test an encoder's frozen features by simple classifiers.

    Returns:
        All numbers by kind of features.

    Raises:
        CheckpointError: no such checkpoint, damaged, or without an encoder.
        ConfigError: no data is known, or `out` holds results already.
        InputError: no such data, or no labels.
    """
    began = time.monotonic()
    refuse_results(settings.out)
    from act3d.use.probing import probe_checkpoint

    report = probe_checkpoint(settings.checkpoint, settings.data, settings.seed, settings.device)
    for note in report.notes:
        say(f"note: {note}", error=True)
    report.table().print()
    if settings.out:
        report.out = Path(settings.out)
        _write(report, settings, time.monotonic() - began)
    return report


def _write(report: "ProbeReport", settings: ProbeSettings, seconds: float) -> None:
    folder = RunFolder(settings.out)
    folder.write_config(settings, "probe")
    folder.write_results(
        command="probe",
        protocol="standard",
        metrics=report.results(),
        start={"kind": report.kind, "checkpoint": settings.checkpoint}
        | ({"supervision": report.supervision} if report.supervision else {}),
        features=report.metrics,
        seed=settings.seed,
        data=report.data,
        duration_s=round(seconds, 1),
    )
    say(f"written: {folder.results}")

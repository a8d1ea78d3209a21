"""`act3d probe`: simple classifiers on frozen features, with and without pretraining."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from act3d.engine.run_folder import RunFolder, refuse_results
from act3d.settings.command import command
from act3d.settings.data import ProbeData
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
    report = measure(settings.checkpoint, settings.data, settings.seed, settings.device)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    report.table().print()
    if settings.out:
        report.out = Path(settings.out)
        _write(report, settings, time.monotonic() - began)
    return report


def measure(checkpoint: str, data: ProbeData, seed: int = 0, device: str = "auto") -> "ProbeReport":
    """Do what `probe` does, without writing or printing its results."""
    from act3d import checkpoints
    from act3d.data.opening import open_for_model
    from act3d.evaluation.frozen_encoder import probe_encoder
    from act3d.models.encoder import EncoderModel
    from act3d.models.student import Student

    loaded = checkpoints.load(checkpoint, device, expect=(Student, EncoderModel))
    loaded.model.requires_grad_(False)
    train, test = (
        open_for_model(
            loaded.meta, data.root, split, data.points, data.normalize, data.subset, data.up, seed=seed, labelled=True
        )
        for split in (data.split, data.test_split)
    )
    report = probe_encoder(loaded.model, train.clouds, test.clouds, data.batch_size, seed)
    report.data |= {"split": data.split, "test_split": data.test_split}
    report.notes = [*train.notes, *train.warnings]
    return report


def _write(report: "ProbeReport", settings: ProbeSettings, seconds: float) -> None:
    folder = RunFolder(settings.out)
    folder.write_config(settings, "probe")
    folder.write_results(
        command="probe",
        protocol="standard",
        metrics=report.results(),
        start={"kind": report.kind, "checkpoint": settings.checkpoint},
        features=report.metrics,
        seed=settings.seed,
        data=report.data,
        duration_s=round(seconds, 1),
    )
    print(f"written: {folder.results}")

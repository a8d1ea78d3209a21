"""`act3d evaluate`: how good a classifier or a segmenter is on labelled data."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.engine.run_folder import RunFolder, refuse_results
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.evaluation import EvaluateSettings
from act3d.supervision import supervision_note
from act3d.tables import trained_text

if TYPE_CHECKING:
    import numpy as np

    from act3d.checkpoints import Checkpoint
    from act3d.data.rooms import Room, RoomFolder
    from act3d.evaluation.evaluating import EvaluationReport

ROOMS_WRITTEN = 3  # rooms whose labels are written


@command
def evaluate(settings: EvaluateSettings) -> "EvaluationReport":
    """Evaluate a classifier or a segmenter.

    Returns:
        All numbers.

    Raises:
        CheckpointError: no such checkpoint, damaged, neither classifier nor segmenter, or one of other classes.
        ConfigError: a setting out of its bounds, no data is known, or `out` holds results already.
        InputError: data that cannot be used.
    """
    began = time.monotonic()
    refuse_results(settings.out)
    from act3d import checkpoints
    from act3d.engine.optimizer import parameter_counts
    from act3d.models.classifier import Classifier
    from act3d.models.segmenter import Segmenter

    loaded: Checkpoint[Any] = checkpoints.load(settings.checkpoint, settings.device, expect=(Classifier, Segmenter))
    loaded.model.patches = settings.patches or loaded.model.patches
    report = measure(loaded, settings)
    report.notes = [*checkpoints.assumptions(loaded.meta), *report.notes]
    print_report(report, str(loaded.meta.get("protocol", "")) + supervision_note(loaded.meta))
    say(trained_text(parameter_counts(loaded.model)))
    if settings.out:
        _write(report, loaded, settings, time.monotonic() - began)
    return report


def measure(loaded: "Checkpoint[Any]", settings: EvaluateSettings) -> "EvaluationReport":
    """Do what `evaluate` does with a model that is loaded, without writing results or printing them."""
    from act3d.checkpoints import POINTS_PER_PATCH
    from act3d.engine.seeding import mix
    from act3d.evaluation.evaluating import evaluate_classifier, evaluate_parts, evaluate_scenes

    model, meta, choice = loaded.model, loaded.meta, settings.data
    data = choice.model_dump(include={"root", "split", "points", "normalize", "subset", "up"})
    data["usual_points"] = POINTS_PER_PATCH * model.patches
    votes, size = settings.votes, choice.batch_size
    if model.kind == "classifier":
        return evaluate_classifier(model, meta, data, size, votes, settings.seed)
    if model.categories:
        # The seed of the vote after training, so that the numbers are the same.
        return evaluate_parts(model, meta, data, size, votes, mix(settings.seed, votes))
    return evaluate_scenes(model, meta, data, size, votes, _writer(settings.out) if settings.out else None)


def _writer(out: str) -> Any:
    """What writes the labels of the first rooms beside the true ones."""
    from act3d.recipes.scenes import write_room
    from act3d.report.room_picture import render_room

    written: list[Path] = []

    def keep(folder: "RoomFolder", room: "Room", labels: "np.ndarray") -> list[Path]:
        if len(written) >= ROOMS_WRITTEN:
            return []
        paths = write_room(Path(out) / "predictions", room, labels, folder.classes, render_room)
        written.append(paths[0])
        return paths

    return keep


def print_report(report: "EvaluationReport", protocol: str = "") -> None:
    """Print what was chosen, what differs from training, and the table of an evaluation."""
    for note in report.notes:
        say(f"note: {note}", error=True)
    for warning in report.warnings:
        say(f"warning: {warning}", error=True)
    report.table().print()
    trained = f", trained under protocol {protocol}" if protocol else ""
    say(f"{report.summary()}{trained}, data {report.data['fingerprint']}")


def _write(report: "EvaluationReport", loaded: "Checkpoint[Any]", settings: EvaluateSettings, seconds: float) -> None:
    from act3d.engine.optimizer import parameter_counts
    from act3d.report.confusion import write_confusion

    model, meta, folder = loaded.model, loaded.meta, RunFolder(settings.out)
    folder.write_config(settings, "evaluate")
    files = ["results.json"]
    if report.scores is not None:
        classes = meta.get("classes") or list(range(model.classes))
        write_confusion(report.scores.confusion, classes, folder.path, report.mistakes)
        files += ["confusion.csv", "confusion.png", "confusion.html"]
    rooms = {"test_rooms": report.data["rooms"]} if report.task == "scenes" else {}
    folder.write_results(
        command="evaluate",
        task=report.task,
        protocol=meta.get("protocol", "unknown"),
        protocol_name=meta.get("protocol_name") or meta.get("protocol", "unknown"),
        metrics=report.metrics,
        votes=report.votes,
        warnings=report.warnings,
        start=meta.get("start"),
        transfer=getattr(model, "transfer", ""),
        parameters=parameter_counts(model),
        points=report.data["points"],
        seed=meta.get("seed", settings.seed),
        data=report.data,
        duration_s=round(seconds, 1),
        **rooms,
    )
    say(f"written: {folder.path}/{', '.join(files)}")

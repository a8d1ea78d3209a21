"""`act3d evaluate`: what a classifier gets right on a test set."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import CheckpointError, ConfigError
from act3d.settings.command import command
from act3d.settings.data import CloudChoice, EvaluationData
from act3d.settings.evaluation import EvaluateSettings

if TYPE_CHECKING:
    from act3d.checkpoints import Checkpoint
    from act3d.data.clouds import CloudDataset
    from act3d.evaluation.classification import ClassScores
    from act3d.models.classifier import Classifier


@dataclass
class EvaluationReport:
    """What `evaluate` found: scores (percent), what was evaluated, and warnings."""

    scores: "ClassScores"
    data: dict[str, Any]
    warnings: list[str]
    votes: int = 0


@command
def evaluate(settings: EvaluateSettings) -> EvaluationReport:
    """Evaluate a classifier.

    Returns:
        All numbers.

    Raises:
        CheckpointError: no such checkpoint, damaged, or no classifier.
        ConfigError: a setting out of its bounds, or `out` holds results already.
        InputError: data that cannot be used.
    """
    checkpoint, data, votes, patches = settings.checkpoint, settings.data, settings.votes, settings.patches
    out, seed, device = settings.out, settings.seed, settings.device
    began = time.monotonic()
    if out and (Path(out) / "results.json").exists():
        raise ConfigError(f"out: {out} holds results already; choose another folder by --out")
    from act3d.evaluation.classification import score, vote

    loaded = load_classifier(checkpoint, device)
    model = loaded.model
    model.patches = patches or model.patches
    clouds, points, warnings = open_for(loaded, data)
    predicted = vote(model, clouds, points, votes, data.batch_size, seed).argmax(dim=1).numpy()
    scores = score(predicted, clouds.labels, clouds.classes)
    about: dict[str, Any] = {
        "name": clouds.name,
        "fingerprint": clouds.fingerprint,
        "split": data.split,
        "clouds": len(clouds),
    }
    report = EvaluationReport(
        scores, about | {"points": points, "normalization": clouds.normalization}, warnings, votes
    )
    print_report(report, loaded.meta.get("protocol", ""))
    if out:
        _write(report, loaded, checkpoint, data, Path(out), seed, time.monotonic() - began)
    return report


def load_classifier(checkpoint: str, device: str = "auto") -> "Checkpoint[Classifier]":
    """Return the classifier of a checkpoint on `device`, in eval mode.

    Raises:
        CheckpointError: nothing there, or no classifier.
        InputError: no such device.
    """
    from act3d import checkpoints
    from act3d.models.classifier import Classifier

    return checkpoints.load(checkpoint, device, expect=Classifier)


def open_for(loaded: "Checkpoint[Classifier]", data: EvaluationData) -> "tuple[CloudDataset, int, list[str]]":
    """Open clouds as the classifier wants them: with all stored points, the number to draw, and what is unusual."""
    from act3d.checkpoints import POINTS_PER_PATCH
    from act3d.evaluation.protocol import open_stored

    model, meta = loaded.model, loaded.meta
    trained, normal = meta.get("points"), meta.get("normalization")
    points = data.points or int(trained or POINTS_PER_PATCH * model.patches)
    how: Any = normal or "auto" if data.normalize == "auto" else data.normalize
    config = CloudChoice(root=data.root, subset=data.subset, points=points, normalize=how)
    clouds = open_stored(config, data.split)
    names = meta.get("classes") or []
    if len(clouds.classes) != model.classes or (names and list(names) != clouds.classes):
        raise CheckpointError(
            f"the classifier knows {model.classes} classes ({', '.join(map(str, names[:3])) or 'unnamed'} ...), "
            f"{clouds.name} has {len(clouds.classes)} ({', '.join(clouds.classes[:3])} ...): they are not the same"
        )
    warnings = []
    if trained and points != trained:
        warnings.append(f"{points} points a cloud; the classifier was trained with {trained}")
    if normal and clouds.normalization != normal:
        warnings.append(f"normalization {clouds.normalization!r}; the classifier was trained with {normal!r}")
    if not trained:
        warnings.append(f"the checkpoint does not say how many points it was trained with; {points} are used")
    return clouds, points, warnings


def print_report(report: EvaluationReport, protocol: str = "") -> None:
    """Print the table of an evaluation."""
    from rich.console import Console
    from rich.table import Table

    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    s, about = report.scores, report.data
    print(f"{about['name']} ({about['split']}), {about['clouds']} clouds of {about['points']} points")
    table = Table("class", "clouds", "% right", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in s.per_class.items():
        table.add_row(name, str(s.counts[name]), f"{value:.1f}")
    Console().print(table)
    how = f"{report.votes} votes" if report.votes else "no vote"
    trained = f", trained under protocol {protocol}" if protocol else ""
    print(f"OA {s.oa:.2f} %  mAcc {s.macc:.2f} %  ({how}{trained}, data {about['fingerprint']})")


def _write(
    report: EvaluationReport,
    loaded: "Checkpoint[Classifier]",
    checkpoint: str,
    data: EvaluationData,
    out: Path,
    seed: int,
    seconds: float,
) -> None:
    import yaml

    from act3d.engine.run_folder import versions
    from act3d.files import write_json, write_text
    from act3d.report.confusion import write_confusion

    model, meta = loaded.model, loaded.meta
    settings: dict[str, Any] = {"checkpoint": checkpoint, "data": data.model_dump(), "votes": report.votes}
    settings |= {"patches": model.patches, "out": str(out), "seed": seed}
    write_text(out / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    results = {
        "command": "evaluate",
        "protocol": meta.get("protocol", "unknown"),
        "protocol_name": meta.get("protocol_name") or meta.get("protocol", "unknown"),
        "metrics": report.scores.as_metrics(),
        "votes": report.votes,
        "warnings": report.warnings,
        "start": meta.get("start"),
        "transfer": model.transfer,
        "points": report.data["points"],
        "seed": meta.get("seed", seed),
        "data": report.data,
        "versions": versions(),
        "duration_s": round(seconds, 1),
    }
    write_confusion(report.scores.confusion, meta.get("classes") or list(range(model.classes)), out)
    write_json(out / "results.json", results)
    print(f"written: {out}/results.json, confusion.csv, confusion.png")

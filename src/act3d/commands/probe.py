"""`act3d probe`: what simple classifiers read off frozen features, taught against untaught."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import ConfigError
from act3d.settings.command import command
from act3d.settings.data import ProbeData
from act3d.settings.evaluation import ProbeSettings

if TYPE_CHECKING:
    from act3d.checkpoints import Checkpoint
    from act3d.data.clouds import CloudDataset
    from act3d.evaluation.features import Features
    from act3d.models.student import Student


@dataclass
class ProbeReport:
    """What `probe` found.

    metrics: per kind of features ("taught", "untaught", "fitted", "plain"): linear and knn accuracy in percent, their
    means over classes, the C and k chosen, and the linear SVM's percent right by class name.
    features: per kind, the frozen features of training and of test shapes.
    kind: what the encoder comes from: "student", "point_mae" ...
    """

    metrics: dict[str, dict[str, Any]]
    data: dict[str, Any]
    features: "dict[str, tuple[Features, Features]]" = field(repr=False)
    kind: str = ""
    out: Path | None = None


FITTED_TO = 128  # clouds


@command
def probe(settings: ProbeSettings) -> ProbeReport:
    """Measure what an encoder's frozen features are worth.

    Returns:
        All numbers by kind of features.

    Raises:
        CheckpointError: no such checkpoint, damaged, or without an encoder.
        InputError: no such data, or no labels.
    """
    checkpoint, data, out = settings.checkpoint, settings.data, settings.out
    seed, device = settings.seed, settings.device
    began = time.monotonic()
    _check_out(out)
    report = measure(checkpoint, data, seed, device)
    if out:
        report.out = Path(out)
        _write(report, checkpoint, data, seed, time.monotonic() - began)
    print_report(report)
    return report


def measure(checkpoint: str, data: ProbeData, seed: int = 0, device: str = "auto") -> ProbeReport:
    """Do what `probe` does, without writing or printing anything."""
    loaded = load_student(checkpoint, device)
    student = loaded.model
    train, test = open_shapes(data, loaded.meta, seed)
    features = {
        "taught": embed_both(student, train, test, data.batch_size),
        "untaught": embed_both(untaught(student, seed), train, test, data.batch_size),
        "fitted": embed_both(fitted(student, seed, train, data.batch_size), train, test, data.batch_size),
        "plain": embed_both(None, train, test, data.batch_size, seed),
    }
    metrics = {kind: probe_features(*pair, train.classes, seed) for kind, pair in features.items()}
    about: dict[str, Any] = {
        "name": train.name,
        "fingerprint": train.fingerprint,
        "split": data.split,
        "test_split": data.test_split,
    }
    about |= {"train_shapes": len(features["taught"][0].y), "test_shapes": len(features["taught"][1].y)}
    return ProbeReport(metrics, about, features, student.kind)


def load_student(checkpoint: str, device: str = "auto") -> "Checkpoint[Any]":
    """Return the student of a checkpoint, frozen, in eval mode, on `device`.

    Raises:
        CheckpointError: nothing there, or no student in it.
        InputError: no such device.
    """
    from act3d import checkpoints
    from act3d.models.classifier import Classifier
    from act3d.models.point_bert import PointBERT
    from act3d.models.point_mae import PointMAE
    from act3d.models.student import Student

    loaded = checkpoints.load(checkpoint, device, expect=(Student, PointMAE, PointBERT, Classifier))
    loaded.model.requires_grad_(False)
    return loaded


def untaught(student: "Student", seed: int) -> "Student":
    """Return the same architecture with the random weights that training by `seed` would start from, frozen."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        twin = type(student)(**student.config)
    return twin.to(next(student.parameters()).device).eval().requires_grad_(False)


def fitted(student: "Student", seed: int, clouds: "CloudDataset", batch_size: int) -> "Student":
    """Return the untaught student with weights and batch statistics fitted to shapes: all but the teaching."""
    import torch

    from act3d.data.views import spread_points
    from act3d.engine.clouds import eval_batches
    from act3d.models.data_dependent_init import fit_statistics, fit_student

    twin = untaught(student, seed)
    device = next(twin.parameters()).device
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fit_student(twin, twin.patchify(spread_points(clouds, FITTED_TO).to(device)))
    batches = eval_batches(clouds, batch_size)
    fit_statistics(twin.encoder, (twin.patchify(batch["points"].to(device)) for batch in batches))
    return twin


def open_shapes(data: ProbeData, meta: dict[str, Any], seed: int) -> "tuple[CloudDataset, CloudDataset]":
    """Open training and test shapes, treated as the encoder's own training data was.

    Raises:
        InputError: no such data, no labels, or one cloud in both splits.
    """
    from act3d.data import open_dataset

    points = data.points or meta.get("points") or None
    normalize = meta.get("normalization") if data.normalize == "auto" else data.normalize
    splits = (data.split, data.test_split)
    train, test = (open_dataset(data.root, split, points, seed, normalize, data.subset or None) for split in splits)
    return train, test


def embed_both(
    student: "Student | None", train: "CloudDataset", test: "CloudDataset", batch_size: int, seed: int = 0
) -> "tuple[Features, Features]":
    """Return features of training and test shapes by the student; by the plain baseline (of this seed) without one."""
    from act3d.evaluation.features import embed, plain_features

    if student is None:
        pair = [embed(lambda points: plain_features(points, seed=seed), clouds, batch_size) for clouds in (train, test)]
    else:
        device = next(student.parameters()).device
        pair = [
            embed(lambda points: student.embed(student.patchify(points)), clouds, batch_size, device)
            for clouds in (train, test)
        ]
    return pair[0], pair[1]


def probe_features(train: "Features", test: "Features", classes: list[str], seed: int) -> dict[str, Any]:
    """Return the numbers of both probes on features, JSON-able."""
    from act3d.evaluation.probe import knn_probe, linear_probe

    linear, near = linear_probe(*train, *test, seed=seed), knn_probe(*train, *test, seed=seed)
    return {
        "linear": linear.accuracy,
        "linear_macc": linear.macc,
        "linear_cv": linear.cv_accuracy,
        "c": linear.c,
        "knn": near.accuracy,
        "knn_macc": near.macc,
        "k": near.k,
        "per_class": {classes[index]: value for index, value in linear.per_class.items()},
    }


def print_report(report: ProbeReport) -> None:
    """Print the table of a probe."""
    from rich.console import Console
    from rich.table import Table

    about = report.data
    title = f"{about['name']}: {about['train_shapes']} training and {about['test_shapes']} test shapes, % right"
    table = Table("features", "linear SVM", "mean class", "C", "k-NN", "k", title=title, title_justify="left", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, m in report.metrics.items():
        numbers = (f"{m['linear']:.1f}", f"{m['linear_macc']:.1f}", f"{m['c']:g}", f"{m['knn']:.1f}", str(m["k"]))
        table.add_row(kind, *numbers, style="bold" if kind == "taught" else None)
    Console().print(table)
    if report.out:
        print(f"written: {report.out / 'results.json'}")


def _check_out(out: str) -> None:
    if out and (Path(out) / "results.json").exists():
        raise ConfigError(f"out: {out} holds results already; choose another folder by --out")


def _write(report: ProbeReport, checkpoint: str, data: ProbeData, seed: int, seconds: float) -> None:
    import yaml

    from act3d.engine.run_folder import versions
    from act3d.files import write_json, write_text

    assert report.out is not None
    settings = {"checkpoint": checkpoint, "data": data.model_dump(), "out": str(report.out), "seed": seed}
    write_text(report.out / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    results = {
        "command": "probe",
        "protocol": "standard",
        "metrics": {
            "oa": report.metrics["taught"]["linear"],
            "macc": report.metrics["taught"]["linear_macc"],
            "knn": report.metrics["taught"]["knn"],
            "untaught": report.metrics["untaught"]["linear"],
            "untaught_knn": report.metrics["untaught"]["knn"],
            "fitted": report.metrics["fitted"]["linear"],
            "fitted_knn": report.metrics["fitted"]["knn"],
        },
        "start": {"kind": report.kind, "checkpoint": checkpoint},
        "features": report.metrics,
        "seed": seed,
        "data": report.data,
        "versions": versions(),
        "duration_s": round(seconds, 1),
    }
    write_json(report.out / "results.json", results)

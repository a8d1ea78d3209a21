"""`act3d predict`: the class of a shape, or the part that each of its points belongs to."""

import csv
import io
import json as json_format
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.commands.embed import load_model
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.files import write_text
from act3d.settings.command import command
from act3d.settings.using import PredictSettings
from act3d.use.shapes import Shapes, find_shapes

if TYPE_CHECKING:
    import numpy as np


@dataclass
class PredictReport:
    """classes: name -> [(class, probability)], likeliest first; files: PLY files written; failures: (name, reason)."""

    classes: dict[str, list[tuple[str | int, float]]]
    files: list[Path]
    failures: list[tuple[str, str]]
    labels: "dict[str, np.ndarray]" = field(repr=False, default_factory=dict)


@command
def predict(settings: PredictSettings) -> PredictReport:
    """Say what shapes are (a classifier), or label their points (a segmenter).

    Returns:
        What was found, and what could not be read.

    Raises:
        CheckpointError: no such checkpoint, or a model that names nothing.
        InputError: nothing to read, or a category that the model does not know.
    """
    checkpoint, out, batch_size = settings.checkpoint, settings.out, settings.batch_size
    model: Any = load_model(checkpoint, settings.device)
    axis = None if settings.up == "auto" else settings.up
    if model.kind == "segmenter" and "block" in model.meta:  # trained on blocks of rooms
        from act3d.use.scans import find_scans, label_scans

        return label_scans(model, find_scans(settings.input), axis, batch_size, out)
    shapes = find_shapes(settings.input, model.meta, settings.split)
    if model.kind == "classifier":
        if out and Path(out).suffix not in (".csv", ".json"):
            raise ConfigError(f"--out: {out} must end in .csv or .json")
        report = _classify(model, shapes, axis, batch_size)
        _tell(report, shapes, settings.top, out)
    elif model.kind == "segmenter":
        report = _segment(model, shapes, axis, batch_size, settings.category, out)
    else:
        raise CheckpointError(
            f"{checkpoint}: a model of kind {model.kind!r} names nothing; take a classifier or segmenter"
        )
    if not report.classes and not report.files:
        raise InputError(f"{settings.input}: not one shape could be read; the first: {': '.join(report.failures[0])}")
    return report


def _batches(model: Any, shapes: Shapes, up: str | None, batch_size: int, report: PredictReport) -> Any:
    places = range(len(shapes.items))
    for good, points, bad in shapes.batches(places, model, batch_size, 0, up):
        for place, reason in bad:
            report.failures.append((shapes.items[place].name, reason))
            print(f"act3d: not readable: {shapes.items[place].name}: {reason}", file=sys.stderr)
        if good:
            yield [shapes.items[i].name for i in good], points


def _classify(model: Any, shapes: Shapes, up: str | None, batch_size: int) -> PredictReport:
    report = PredictReport({}, [], [])
    for found, points in _batches(model, shapes, up, batch_size, report):
        report.classes |= dict(zip(found, model.rank(points), strict=True))
    return report


def _tell(report: PredictReport, shapes: Shapes, top: int, out: str) -> None:
    """Print a table, and write all probabilities where asked to."""
    from rich.console import Console
    from rich.table import Table

    if len(report.classes) == 1:
        name, ranked = next(iter(report.classes.items()))
        table = Table("class", "probability", title=name, title_justify="left", box=None)
        for label, probability in ranked[:top]:
            table.add_row(str(label), f"{probability:.3f}")
    else:
        table = Table("shape", "class", "probability", "then", box=None)
        for name, ranked in report.classes.items():
            then = ", ".join(f"{label} {p:.2f}" for label, p in ranked[1 : min(top, 3)])
            table.add_row(name, str(ranked[0][0]), f"{ranked[0][1]:.3f}", then)
    table.columns[2 if len(table.columns) > 2 else 1].justify = "right"
    Console().print(table)
    known = [(item.label, str(report.classes[item.name][0][0])) for item in shapes.items if item.name in report.classes]
    labelled = [(truth, found) for truth, found in known if truth]
    if shapes.dataset is not None and labelled:
        right = sum(truth == found for truth, found in labelled)
        print(f"{100 * right / len(labelled):.1f} % right of {len(labelled)} labelled shapes")
    if out.endswith(".json"):
        answer = {name: [{"class": c, "probability": p} for c, p in ranked] for name, ranked in report.classes.items()}
        write_text(out, json_format.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    elif out:
        columns = sorted({str(c) for ranked in report.classes.values() for c, _ in ranked})
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["shape", "class", "probability", *columns])
        for name, ranked in report.classes.items():
            by_class = {str(c): p for c, p in ranked}
            writer.writerow([name, ranked[0][0], f"{ranked[0][1]:.6f}", *(f"{by_class[c]:.6f}" for c in columns)])
        write_text(out, text.getvalue())
    if out:
        print(f"written: {out}")


def _segment(model: Any, shapes: Shapes, up: str | None, batch_size: int, category: str, out: str) -> PredictReport:
    """Label the points of every shape, each only with parts that its category has, and write PLY files."""
    import numpy as np

    from act3d.use.labelled_clouds import write_ply

    if not out:
        raise ConfigError("--out is missing: a .ply file, or a folder for several")
    parts = model.names
    report = PredictReport({}, [], [])
    chosen = {item.name: model.category(category or item.label) for item in shapes.items}
    for found, points in _batches(model, shapes, up, batch_size, report):
        wanted = [chosen[name] for name in found]
        results = model.segment(points, None if None in wanted else wanted).cpu().numpy()
        for name, cloud, labels in zip(found, points, results, strict=True):
            path = (
                Path(out)
                if len(shapes.items) == 1 and out.endswith(".ply")
                else Path(out) / f"{Path(name).with_suffix('')}.ply"
            )
            report.files.append(write_ply(path, cloud.cpu().numpy(), labels, parts))
            report.labels[name] = labels
            numbers, counts = np.unique(labels, return_counts=True)
            share = ", ".join(f"{parts[i]} {100 * c / len(labels):.0f} %" for i, c in zip(numbers, counts, strict=True))
            print(f"{path}: {share}")
    return report

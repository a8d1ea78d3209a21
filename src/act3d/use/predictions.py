"""Naming shapes and labelling their points: files in, classes or coloured clouds out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from act3d.errors import ConfigError, InputError
from act3d.files import output_names, printable, write_text
from act3d.lines import say
from act3d.progress import Progress
from act3d.supervision import supervision_note
from act3d.tables import Cell, Table, Tabular
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.labelled_clouds import write_ply
from act3d.use.predictor import Predictor
from act3d.use.reading import Reading
from act3d.use.segmenter_predictor import SegmenterPredictor
from act3d.use.shape_predictors import ClassifierPredictor
from act3d.use.shapes import Shapes

Ranked = list[tuple[str | int, float]]


@dataclass(repr=False)
class Predictions(Tabular):
    """A model's predictions for shapes.

    Attributes:
        classes: Name -> classes with probabilities, likeliest first (a classifier).
        files: PLY files written (a segmenter).
        failures: (name, reason) of what could not be read.
        labels: Name -> label of every point (a segmenter).
        truth: Name -> true class, where it is known.
        note: What is said behind numbers of the model, such as ", name-supervised".
    """

    classes: dict[str, Ranked] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    labels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    truth: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def table(self) -> Table:
        """One row a shape: its class and the probability of every class; or its file and number of points."""
        if not self.classes:
            files: list[Sequence[Cell]] = [
                [n, len(v), str(f)] for (n, v), f in zip(self.labels.items(), self.files, strict=True)
            ]
            return Table(["shape", "points", "file"], files)
        names = sorted({str(name) for ranked in self.classes.values() for name, _ in ranked})
        rows: list[Sequence[Cell]] = []
        for shape, ranked in self.classes.items():
            shares = {str(name): p for name, p in ranked}
            rows.append([shape, str(ranked[0][0]), ranked[0][1], *(shares[name] for name in names)])
        return Table(["shape", "class", "probability", *names], rows, digits=3)

    def summary(self, top: int) -> Table:
        """What the terminal shows: of one shape the `top` likeliest classes, of several the likeliest and the next."""
        if len(self.classes) == 1:
            (name, ranked), *_ = self.classes.items()
            return Table(["class", "probability"], [[str(c), p] for c, p in ranked[:top]], name, digits=3)
        rows: list[Sequence[Cell]] = [
            [name, str(ranked[0][0]), ranked[0][1], ", ".join(f"{c} {p:.2f}" for c, p in ranked[1 : min(top, 3)])]
            for name, ranked in self.classes.items()
        ]
        return Table(["shape", "class", "probability", "then"], rows, digits=3)

    def right(self) -> str:
        """How many of the shapes whose class is known are right, as a line; "" if none is known."""
        known = [(truth, str(self.classes[name][0][0])) for name, truth in self.truth.items() if name in self.classes]
        right = sum(truth == found for truth, found in known)
        return f"{100 * right / len(known):.1f} % right of {len(known)} labelled shapes{self.note}" if known else ""

    def write(self, path: Path) -> None:
        """Write all probabilities as .csv, .md or .json."""
        if path.suffix != ".json":
            self.table().write(path)
            return
        answer = {name: [{"class": c, "probability": p} for c, p in ranked] for name, ranked in self.classes.items()}
        write_text(path, json.dumps(answer, indent=2, ensure_ascii=False) + "\n")

    def __repr__(self) -> str:
        done = len(self.classes) or len(self.files)
        return f"<Predictions: {done} {'shapes' if self.classes else 'files'}, {len(self.failures)} not readable>"

    def refuse_nothing(self, source: str) -> None:
        """Raise InputError if not one shape could be read."""
        if not self.classes and not self.files:
            raise InputError(f"{source}: nothing could be read; the first: {': '.join(self.failures[0])}")

    def fail(self, name: str, reason: str) -> None:
        """Note, and say, that a file could not be read."""
        self.failures.append((name, reason))
        say(f"act3d: not readable: {printable(name)}: {reason}", error=True)


def classify_shapes(predictor: ClassifierPredictor | AlignedPredictor, shapes: Shapes, reading: Reading) -> Predictions:
    """Name every shape."""
    report = Predictions(note=supervision_note(predictor.meta))
    if shapes.dataset is not None:
        report.truth = {item.name: item.label for item in shapes.items if item.label}
    for names, points in _batches(predictor, shapes, reading, report):
        report.classes |= dict(zip(names, predictor.rank(points), strict=True))
    return report


def segment_shapes(
    predictor: SegmenterPredictor, shapes: Shapes, reading: Reading, category: str, out: str
) -> Predictions:
    """Label the points of every shape, each only with parts that its category has, and write PLY files.

    Args:
        predictor, shapes, reading: What labels, what is labelled, and how it is read.
        category: What the shapes are, by name or number; "" = as their folder or dataset says.
        out: A .ply file, or a folder for several.

    Raises:
        ConfigError: `out` is missing.
        InputError: The model does not know the category.
    """
    paths = dict(zip((i.name for i in shapes.items), ply_paths([i.name for i in shapes.items], out), strict=True))
    categories = {item.name: predictor.category(category or item.label) for item in shapes.items}
    report = Predictions()
    for names, points in _batches(predictor, shapes, reading, report):
        wanted = [categories[name] for name in names]
        labels = predictor.segment(points, None if None in wanted else wanted).cpu().numpy()
        for name, cloud, found in zip(names, points.cpu().numpy(), labels, strict=True):
            report.files.append(write_ply(paths[name], cloud, found, predictor.names))
            report.labels[name] = found
    return report


def ply_paths(inputs: Sequence[str], out: str) -> list[Path]:
    """Where the labelled cloud of every input goes: `out` itself, or a file in the folder `out`, no two alike.

    Raises:
        ConfigError: `out` is missing.
    """
    if not out:
        raise ConfigError("out: missing; give a .ply file, or a folder for several")
    return [Path(out)] if len(inputs) == 1 and out.endswith(".ply") else output_names(inputs, out, ".ply")


def shares(labels: NDArray[np.int64], names: Sequence[str]) -> str:
    """How much of a cloud has which label, as a line."""
    numbers, counts = np.unique(labels, return_counts=True)
    return ", ".join(f"{names[i]} {100 * c / len(labels):.0f} %" for i, c in zip(numbers, counts, strict=True))


def _batches(
    predictor: Predictor[Any], shapes: Shapes, reading: Reading, report: Predictions
) -> Iterator[tuple[list[str], Tensor]]:
    with Progress(len(shapes.items), text="predicting", unit="shapes") as progress:
        for found, points, bad, _ in shapes.batches(range(len(shapes.items)), predictor, reading):
            for place, reason in bad:
                report.fail(shapes.items[place].name, reason)
            if found:
                yield [shapes.items[place].name for place in found], points
            progress.advance(count=len(found) + len(bad))

"""The page that a quickstart ends with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act3d.report.charts import bar_rows, line_chart, mean_spread, scatter_map
from act3d.report.clouds import render_cloud, view_bounds
from act3d.report.page import (
    Section,
    charts,
    commands,
    details,
    facts,
    gallery,
    headline,
    paragraph,
    table,
    write_page,
)

Line = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Variant:
    """One way to get features, and how a probe fared on them, one value a seed, in percent."""

    name: str
    linear: list[float]
    knn: list[float]
    per_class: dict[str, float]
    """Class name -> percent right by the linear probe, mean over seeds."""


@dataclass(frozen=True)
class Shape:
    """A test shape and what the autoencoder makes of it; (N, 3) each."""

    title: str
    remark: str
    input: NDArray[np.float32]
    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis."""

    x_label: str
    y_label: str
    lines: Mapping[str, Line]
    log_y: bool = False


@dataclass(frozen=True)
class EmbeddingMap:
    """Positions (S, 2) of shapes, their labels (S,), names, and which are test shapes (S,)."""

    xy: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: list[str]
    test: NDArray[np.bool_]


@dataclass(frozen=True)
class QuickstartReport:
    """Everything on the page. The first variant is the taught encoder, the next two its untaught twins."""

    teacher: str
    classes: list[str]
    train_shapes: int
    test_shapes: int
    chance: float
    variants: list[Variant]
    shapes: list[Shape]
    charts: list[Chart]
    map: EmbeddingMap
    commands: str
    facts: dict[str, str]
    licence: str
    footer: str
    seeds: list[int] = field(default_factory=list)


def write_quickstart(path: str | Path, report: QuickstartReport) -> Path:
    """Write the report as one HTML file and return its path."""
    sections = [
        Section("What teaching brought", _results(report)),
        Section("What the teacher sees", _reconstructions(report)),
        Section("Where shapes lie", _map(report)),
        Section("How training went", _training(report)),
        Section("The same with your own shapes", _own(report)),
        Section("How this was made", facts(report.facts) + paragraph(report.licence, "note")),
    ]
    title = "A 3D Transformer, taught by one that never saw a shape"
    return write_page(path, title, _lead(report), sections, report.footer)


def verdict(taught: Sequence[float], control: Sequence[float], name: str = "the untaught encoder") -> str:
    """What the numbers allow to say about the taught encoder against a control of this name, in one sentence."""
    gain = float(np.mean(taught) - np.mean(control))
    if len(taught) < 2 or len(control) < 2:
        return f"One seed: taught minus {name} is {gain:+.1f} points; without a spread this is a hint only."
    spread = max(float(np.std(taught, ddof=1)), float(np.std(control, ddof=1)))
    if gain > spread:
        return f"Taught beats {name} by {gain:.1f} points, more than the spread over seeds ({spread:.1f})."
    if gain < -spread:
        return f"Taught loses to {name} by {-gain:.1f} points, more than the spread over seeds ({spread:.1f})."
    return f"Taught minus {name} is {gain:+.1f} points, within the spread over seeds ({spread:.1f}): nothing shown."


def verdicts(taught: Variant, controls: Sequence[Variant]) -> list[str]:
    """A verdict on every control by the linear SVM, then on every control by nearest neighbours."""
    return [
        f"{probe}: " + verdict(getattr(taught, kind), getattr(control, kind), f"“{control.name}”")
        for probe, kind in (("Linear SVM", "linear"), ("k-NN", "knn"))
        for control in controls
    ]


def _lead(report: QuickstartReport) -> str:
    taught, untaught = report.variants[0], report.variants[1]
    text = (
        f"A point-cloud encoder learned from a frozen, pretrained Transformer ({report.teacher}) in the two stages of "
        "ACT: first an autoencoder of shapes around it, then a masked student that predicts the features it gives. "
        f"No label was used. Here is what its features are worth on {report.test_shapes} shapes it never saw."
    )
    gain = float(np.mean(taught.linear) - np.mean(untaught.linear))
    numbers = [
        (f"{mean_spread(taught.linear)} %", "right by a linear SVM on the taught encoder's features"),
        (f"{mean_spread(untaught.linear)} %", "on those of the same encoder, untaught"),
        (f"{gain:+.1f}", f"points; {len(report.classes)} classes, chance {report.chance:.0f} %"),
    ]
    return paragraph(text, "lead") + headline(numbers)


def _results(report: QuickstartReport) -> str:
    bars = bar_rows({v.name: v.linear for v in report.variants}, ("always the most frequent class", report.chance))
    seeds = report.seeds
    header = ["Linear SVM, % right", *[f"seed {s}" for s in seeds], "mean ± sd", "k-NN, mean ± sd"]
    rows = [
        [v.name, *[f"{value:.1f}" for value in v.linear], mean_spread(v.linear), mean_spread(v.knn)]
        for v in report.variants
    ]
    how = (
        f"Features are frozen; a linear SVM learns the {len(report.classes)} classes from {report.train_shapes} "
        f"training shapes and is asked about {report.test_shapes} test shapes of other product families. Its C (and "
        "the k of k-NN) is chosen by cross-validation inside the training shapes. Ticks are seeds; a seed changes the "
        "training, the random weights and the folds. Spread is the sample standard deviation over seeds."
    )
    classes = table(
        ["Class", *[v.name for v in report.variants]],
        [[name, *[_percent(v.per_class.get(name)) for v in report.variants]] for name in report.classes],
    )
    said = "".join(paragraph(text) for text in verdicts(report.variants[0], report.variants[1:3]))
    return said + bars + table(header, rows, strong=[0]) + paragraph(how, "note") + details("By class", classes)


def _reconstructions(report: QuickstartReport) -> str:
    text = (
        "Stage I writes every patch of a shape as one discrete code, sends the codes through the frozen Transformer "
        "and draws the shape again from what comes out. Test shapes with their number of points; lighter is nearer."
    )
    cards = []
    for shape in report.shapes:
        bounds = view_bounds(shape.input)
        pictures = [
            (f"{what} ({len(points)})", render_cloud(points, radius=radius, bounds=bounds))
            for what, points, radius in (
                ("input", shape.input, 0.03),
                ("coarse", shape.coarse, 0.04),
                ("rebuilt", shape.fine, 0.03),
            )
        ]
        cards.append((shape.title, shape.remark, pictures))
    return paragraph(text) + gallery(cards)


def _map(report: QuickstartReport) -> str:
    text = (
        "Frozen features of the taught encoder, laid out in two dimensions by t-SNE: neighbours are alike, distances "
        "between groups mean little. Full dots are test shapes, faint ones training shapes; colours are the classes, "
        "which the encoder was never told."
    )
    drawn = scatter_map(report.map.xy, report.map.labels, report.classes, report.map.names, report.map.test)
    return paragraph(text) + drawn


def _training(report: QuickstartReport) -> str:
    return charts([line_chart(c.lines, c.x_label, c.y_label, c.log_y) for c in report.charts])


def _own(report: QuickstartReport) -> str:
    text = (
        "A folder with one subfolder of meshes or point clouds per class is enough; without subfolders everything but "
        "the last step works too."
    )
    return paragraph(text) + commands(report.commands)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"

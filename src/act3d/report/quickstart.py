"""The page that a quickstart ends with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from act3d.report.charts import bar_rows, mean_spread
from act3d.report.page import write_page
from act3d.report.pieces import (
    Chart,
    EmbeddingMap,
    Retrieval,
    Shape,
    chart_lines,
    map_chart,
    reconstruction_card,
    retrieval_values,
)


@dataclass(frozen=True)
class Variant:
    """One kind of features, and the accuracy of the probes on them, one value a seed, in percent."""

    name: str
    linear: list[float]
    knn: list[float]
    per_class: dict[str, float]
    """Class name -> percent right by the linear probe, mean over seeds."""


@dataclass(frozen=True)
class CodesUsed:
    """How many of the codebook's codes the autoencoder of each seed gives to the patches of the test shapes."""

    used: dict[int, int]
    """Seed -> number of different codes."""
    of: int
    few: int
    """An autoencoder that uses fewer codes than this has learned next to nothing."""


@dataclass(frozen=True)
class QuickstartReport:
    """Everything on the page. The variants are, in this order: the pretrained encoder, the same encoder with random
    initialization and with data-dependent initialization, and the plain baseline.
    """

    teacher: str
    classes: list[str]
    train_shapes: int
    test_shapes: int
    test_remark: str
    """What sets test shapes apart from training shapes, such as "of other product families"; "" if nothing is known."""
    chance: float
    variants: list[Variant]
    codes: CodesUsed
    retrieval: Retrieval
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
    pretrained, *others = report.variants
    warning = codes_warning(report.codes)
    classes = [
        [name, *[_percent(variant.per_class.get(name)) for variant in report.variants]] for name in report.classes
    ]
    return write_page(
        path,
        "quickstart.html",
        report=report,
        headline=_headline(report, warning),
        warning=warning,
        verdicts=verdicts(pretrained, others[:2]),
        bars=bar_rows({v.name: v.linear for v in report.variants}, ("always the most frequent class", report.chance)),
        header=accuracy_header(report),
        rows=[[cell if isinstance(cell, str) else f"{cell:.1f}" for cell in row] for row in accuracy_rows(report)],
        class_header=["Class", *[v.name for v in report.variants]],
        class_rows=classes,
        retrieval=retrieval_values(report.retrieval),
        cards=[reconstruction_card(shape) for shape in report.shapes],
        map=map_chart(report.map, report.classes),
        charts=chart_lines(report.charts),
    )


def accuracy_header(report: QuickstartReport) -> list[str]:
    """Return the columns of the table of accuracies."""
    return ["Linear SVM, % right", *[f"seed {s}" for s in report.seeds], "mean ± sd", "k-NN, mean ± sd"]


def accuracy_rows(report: QuickstartReport) -> list[list[str | float]]:
    """Return one row per variant: name, accuracy of the linear SVM by seed and its mean, mean accuracy of k-NN."""
    return [
        [variant.name, *variant.linear, mean_spread(variant.linear), mean_spread(variant.knn)]
        for variant in report.variants
    ]


def verdict(pretrained: Sequence[float], control: Sequence[float], name: str = "random initialization") -> str:
    """Return one sentence: what the numbers allow to say about the pretrained encoder against this control."""
    gain = float(np.mean(pretrained) - np.mean(control))
    if len(pretrained) < 2 or len(control) < 2:
        return f"One seed: pretrained minus {name} is {gain:+.1f} points; without a spread this is a hint only."
    spread = max(float(np.std(pretrained, ddof=1)), float(np.std(control, ddof=1)))
    if abs(gain) <= spread:
        size = f"{gain:+.1f} points, within the spread over seeds ({spread:.1f})"
        return f"Pretrained minus {name} is {size}: no difference shown."
    verb = "beats" if gain > 0 else "loses to"
    size = f"{abs(gain):.1f} points, more than the spread over seeds ({spread:.1f})"
    return f"The pretrained encoder {verb} {name} by {size}."


def verdicts(pretrained: Variant, controls: Sequence[Variant]) -> list[str]:
    """Return a verdict on every control by the linear SVM, then on every control by nearest neighbours."""
    return [
        f"{probe}: " + verdict(getattr(pretrained, kind), getattr(control, kind), f"“{control.name}”")
        for probe, kind in (("Linear SVM", "linear"), ("k-NN", "knn"))
        for control in controls
    ]


def codes_warning(codes: CodesUsed) -> str:
    """Return a warning about seeds whose autoencoder uses few codes; "" if there are none."""
    few = {seed: used for seed, used in codes.used.items() if used < codes.few}
    if not few:
        return ""
    seeds = ", ".join(str(seed) for seed in few)
    used = ", ".join(str(number) for number in few.values())
    return (
        f"The teacher of seed {seeds} uses {used} of {codes.of} codes for all test shapes: it has learned next to "
        "nothing, so differences between the encoders do not come from it. Train stage I for more steps (more shapes "
        "or epochs)."
    )


def _headline(report: QuickstartReport, warning: str) -> list[tuple[str, str]]:
    """Return (figure, meaning) of the large figures: a gain only where there is one over every other row."""
    pretrained, random = report.variants[:2]
    best = max(report.variants[1:], key=lambda variant: float(np.mean(variant.linear)))
    gain = float(np.mean(pretrained.linear) - np.mean(best.linear))
    numbers = [
        (f"{mean_spread(pretrained.linear)} %", "right by a linear SVM on the pretrained encoder's features"),
        (f"{mean_spread(random.linear)} %", "on those of the same encoder with random initialization"),
    ]
    chance = f"{len(report.classes)} classes, chance {report.chance:.0f} %"
    if gain > 0 and not warning:
        numbers.append((f"{gain:+.1f}", f"points over the best other row, “{best.name}”; {chance}"))
    elif best is not random:
        numbers.append((f"{mean_spread(best.linear)} %", f"by the best other row, “{best.name}”; {chance}"))
    else:
        numbers.append((f"{report.chance:.0f} %", f"by chance: {len(report.classes)} classes"))
    return numbers


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"

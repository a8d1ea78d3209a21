"""The page of any runs: what they find and rebuild, their numbers, and how they were made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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

Headline = list[tuple[str, str]]


@dataclass(frozen=True)
class NumbersTable:
    """The numbers of some runs, one a row, under their names."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class RunPage:
    """Everything on the page; what a run does not have is left empty.

    Attributes:
        title: of the page. lead: one paragraph: what was trained on what.
        headline: (number, what it means), the large ones.
        retrieval: shapes found alike, by the encoder, by random weights and by plain features.
        shapes: reconstructions. rooms: (name, PNG file) of labelled rooms. legend: their classes with CSS colours.
        map, classes: embeddings, and the names of their classes.
        numbers: tables of numbers, one for every command.
        charts: training curves.
        facts: by run, what is needed to make it again.
        commands: lines to type next. maker: the command that wrote the page.
    """

    title: str
    lead: str
    headline: Headline = field(default_factory=list)
    retrieval: Retrieval | None = None
    shapes: Sequence[Shape] = ()
    rooms: Sequence[tuple[str, bytes]] = ()
    legend: Sequence[tuple[str, str]] = ()
    map: EmbeddingMap | None = None
    classes: Sequence[str] = ()
    numbers: Sequence[NumbersTable] = ()
    charts: Sequence[Chart] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commands: str = ""
    maker: str = "act3d report"


def write_run_page(path: str | Path, page: RunPage) -> Path:
    """Write the page as one HTML file and return its path."""
    return write_page(
        path,
        "run.html",
        page=page,
        retrieval=page.retrieval and retrieval_values(page.retrieval),
        cards=[reconstruction_card(shape) for shape in page.shapes],
        map=page.map and map_chart(page.map, page.classes),
        charts=chart_lines(page.charts),
    )


def retrieval_headline(found: Retrieval, model: str) -> Headline:
    """Return the share of queries whose nearest shape has their class, and a gain only over the best of the others.

    Args:
        found: with `first_right` of all.
        model: name of the trained encoder; the others are what it is compared with.
    """
    shares = {name: float(sum(values) / len(values)) for name, values in found.first_right.items()}
    ours, others = shares.pop(model), sorted(shares, key=lambda name: -shares[name])
    asked = f"of {found.asked} queries: the nearest shape has the query's class, by the trained encoder"
    numbers = [(f"{ours:.0f} %", asked)]
    numbers += [(f"{shares[name]:.0f} %", f"the same by {lower_first(name)}") for name in others]
    if ours > shares[others[0]]:
        gain = f"points more than {lower_first(others[0])}; one run is a hint, not a proof"
        numbers.append((f"{ours - shares[others[0]]:+.0f}", gain))
    return numbers


def lower_first(text: str) -> str:
    """Return a text for the middle of a sentence."""
    return text[:1].lower() + text[1:]

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
        retrieval: shapes found alike, by the encoder and by random weights.
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


def retrieval_headline(found: Retrieval, model: str, control: str) -> Headline:
    """Return the share of queries whose nearest shape has their class, and a gain only where there is one.

    Args:
        found: with `first_right` of both.
        model, control: names of the pretrained encoder and of the random one.
    """
    ours, random = (float(sum(found.first_right[name]) / len(found.first_right[name])) for name in (model, control))
    numbers = [
        (f"{ours:.0f} %", f"of {found.asked} queries: the nearest shape has the query's class, by the trained encoder"),
        (f"{random:.0f} %", "the same by random weights"),
    ]
    if ours > random:
        numbers.append((f"{ours - random:+.0f}", "points more than random weights; one run is a hint, not a proof"))
    return numbers

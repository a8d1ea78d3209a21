"""What pages of runs show, as plain arrays: reconstructions, nearest shapes, maps, curves. And how they are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from act3d.report.charts import line_chart, mean_spread, scatter_map
from act3d.report.cloud_picture import view_bounds
from act3d.report.viewer import Card, view

Line = tuple[NDArray[np.float64], NDArray[np.float64]]
Cloud = NDArray[np.floating[Any]]
MAP_BYTES = 600_000  # of a page, for the shapes behind a map's dots


@dataclass(frozen=True)
class Shape:
    """A test shape and its reconstructions; (N, 3) each."""

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
    """Positions (S, 2) of shapes, their labels (S,), names, which are test shapes (S,), and their clouds (N, 3)."""

    xy: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: list[str]
    test: NDArray[np.bool_]
    clouds: Sequence[Cloud] = ()


@dataclass(frozen=True)
class Named:
    """A shape with its name, a remark such as its class, and whether it answers a query rightly (None = unknown)."""

    name: str
    remark: str
    points: Cloud
    right: bool | None = None


@dataclass(frozen=True)
class Retrieval:
    """Shapes found for queries by several encoders.

    Attributes:
        searched: how many shapes were searched.
        queries: the query and, for every encoder by name, what it found, nearest first.
        first_right: encoder -> percent of all queries whose first hit has their class, one value a seed; {} = unknown.
        asked: how many queries that percentage is of.
    """

    searched: int
    queries: Sequence[tuple[Named, Mapping[str, Sequence[Named]]]]
    first_right: Mapping[str, Sequence[float]] = field(default_factory=dict)
    asked: int = 0


def reconstruction_card(shape: Shape) -> Card:
    """Return input, coarse and fine reconstruction side by side, seen from one point."""
    bounds = view_bounds(shape.input, shape.coarse, shape.fine)
    return Card(
        shape.title,
        shape.remark,
        [
            (f"{what} ({len(points)})", view(points, f"{shape.title}: {what}", bounds=bounds))
            for what, points in (("input", shape.input), ("coarse", shape.coarse), ("fine", shape.fine))
        ],
    )


def named_card(shape: Named, caption: str = "", still: int = 130) -> Card:
    """Return one shape, marked where it answers a query."""
    mark = {True: "right", False: "wrong", None: ""}[shape.right]
    return Card(shape.name, shape.remark, [(caption, view(shape.points, shape.name, still=still))], mark)


def retrieval_values(found: Retrieval) -> dict[str, Any]:
    """Return what the template `retrieval` of sections.html shows."""
    cards = [
        (named_card(query, "query", 160), [(name, [named_card(shape) for shape in row]) for name, row in rows.items()])
        for query, rows in found.queries
    ]
    shares = "; ".join(f"{name}: {mean_spread(list(values))} %" for name, values in found.first_right.items())
    sentence = (
        f"Over all {found.asked} test shapes, the nearest shape has the query's class: {shares}." if shares else ""
    )
    return {"searched": found.searched, "labelled": bool(shares), "cards": cards, "sentence": sentence}


def map_chart(shown: EmbeddingMap, classes: Sequence[str]) -> Markup:
    """Return the map as SVG; where its clouds are known, a dot shows its shape."""
    clouds = None
    if len(shown.clouds):
        count = int(np.clip(MAP_BYTES / (4 * len(shown.clouds)), 48, 512))
        clouds = [cloud[:count] for cloud in shown.clouds]
    return scatter_map(shown.xy, shown.labels, classes, shown.names, shown.test, clouds)


def chart_lines(charts: Sequence[Chart]) -> list[Markup]:
    """Return the curves as SVG."""
    return [line_chart(chart.lines, chart.x_label, chart.y_label, chart.log_y) for chart in charts]

"""Charts as inline SVG. Colours come from the page's style sheet, so they follow its light or dark scheme."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from act3d.errors import InputError
from act3d.report.class_colors import MARKERS, class_marks
from act3d.report.lettering import place_names
from act3d.report.page import render
from act3d.report.viewer import encode, view

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40  # margins around the axes, in pixels


def line_chart(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    x_label: str,
    y_label: str,
    log_y: bool = False,
    size: tuple[int, int] = (440, 280),
) -> Markup:
    """Return a chart with one line for each (x, y) of `series`; values that are not finite are left out.

    At most eight lines get colours of their own. With `log_y`, values that are not positive are left out.

    Raises:
        InputError: there is no value to show.
    """
    lines = {name: _clean(x, y, log_y) for name, (x, y) in series.items()}
    lines = {name: line for name, line in lines.items() if len(line[0])}
    if not lines:
        raise InputError(f"no finite values to show for {y_label!r}")
    width, height = size
    all_x, all_y = (np.concatenate([line[i] for line in lines.values()]) for i in (0, 1))
    x_ticks = _ticks(all_x.min(), all_x.max(), 5)
    y_ticks = _log_ticks(all_y.min(), all_y.max()) if log_y else _ticks(all_y.min(), all_y.max(), 4)
    to_x = _scale(min(all_x.min(), x_ticks[0]), max(all_x.max(), x_ticks[-1]), _LEFT, width - _RIGHT)
    low, high = min(all_y.min(), y_ticks[0]), max(all_y.max(), y_ticks[-1])
    straight = _scale(_log(low, log_y), _log(high, log_y), height - _BOTTOM, _TOP)

    def to_y(value: float) -> float:
        return straight(_log(value, log_y))

    return render(
        "line_chart.html",
        lines=[{"name": name, "dots": _dots(*line, to_x, to_y)} for name, line in lines.items()],
        x_label=x_label,
        y_label=y_label,
        x_ticks=[(f"{to_x(tick):.1f}", _number(tick)) for tick in x_ticks],
        y_ticks=[(f"{to_y(tick):.1f}", _number(tick)) for tick in y_ticks],
        width=width,
        height=height,
        left=_LEFT,
        right=width - _RIGHT,
        floor=height - _BOTTOM,
    )


def scatter_map(
    xy: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    names: Sequence[str] | None = None,
    strong: ArrayLike | None = None,
    clouds: Sequence[ArrayLike] | None = None,
    size: tuple[int, int] = (760, 620),
) -> Markup:
    """Return a map of points; colour and marker tell the class, whose name also stands amid its points.

    Args:
        xy: Positions with shape (S, 2).
        labels: Class ids with shape (S,); -1 for none (grey).
        classes: Name of every class id.
        names: What each point is; shown when the pointer rests on it.
        strong: (S,) True for opaque points, the others are faint; by default all are opaque.
        clouds: The shape (N, 3) of every point, shown beside the map when the pointer rests on it; by default none.
    """
    places, ids = np.asarray(xy, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if places.ndim != 2 or places.shape[1] != 2 or ids.shape != places.shape[:1] or not np.isfinite(places).all():
        raise InputError(f"a map needs finite positions (S, 2) and labels (S,); got {places.shape} and {ids.shape}")
    opaque = np.ones(len(ids), dtype=bool) if strong is None else np.asarray(strong, dtype=bool)
    width, height = size
    low, high = places.min(axis=0), places.max(axis=0)
    to_x, to_y = _scale(low[0], high[0], 24, width - 24), _scale(low[1], high[1], height - 24, 24)
    marks = class_marks(ids, classes)
    dots: list[dict[str, Any]] = []
    for i in np.argsort(opaque, kind="stable"):  # faint ones first, so that opaque ones lie on top
        label = classes[ids[i]] if ids[i] >= 0 else "no class"
        dots.append(
            {
                "x": f"{to_x(places[i, 0]):.1f}",
                "y": f"{to_y(places[i, 1]):.1f}",
                "radius": 5 if opaque[i] else 3.4,
                "color": marks[int(ids[i])].color,
                "marker": list(MARKERS).index(marks[int(ids[i])].marker),
                "opacity": 0.92 if opaque[i] else 0.32,
                "title": f"{names[i]} · {label}" if names is not None else label,
                "data": {} if clouds is None else encode(clouds[i]),
            }
        )
    names_at = [(classes[i], to_x(x), to_y(y)) for i, (x, y) in middles(places, ids).items()]
    class_names = [(f"{x:.1f}", f"{y:.1f}", name) for name, x, y in place_names(names_at, width, height)]
    first = str(dots[-1]["title"])
    shown = None if clouds is None else view(clouds[int(np.argsort(opaque, kind="stable")[-1])], first, radius=0.05)
    legend = [(mark.name, mark.color, list(MARKERS).index(mark.marker)) for mark in dict.fromkeys(marks.values())]
    return render(
        "scatter_map.html",
        dots=dots,
        class_names=class_names,
        width=width,
        height=height,
        view=shown,
        first=first,
        legend=legend,
        markers=list(MARKERS.values()),
    )


def middles(xy: NDArray[np.float64], labels: NDArray[np.integer]) -> dict[int, NDArray[np.float64]]:
    """Return the place (2,) for the name of every class: of its points (S, 2), the one nearest to all others.

    A median may lie between two groups of a class, where there is nothing.
    """
    found = {}
    for label in np.unique(labels[labels >= 0]).tolist():
        own = xy[labels == label]
        some = own[:: len(own) // 300 + 1]
        found[label] = some[np.linalg.norm(some[:, None] - some, axis=2).sum(axis=1).argmin()]
    return found


def bar_rows(
    rows: Mapping[str, Sequence[float]], marker: tuple[str, float] | None = None, top: float = 100.0
) -> Markup:
    """Return one bar a row (name -> values of the seeds): the mean as bar, each value as tick.

    `marker` is a (name, value) shown as a dashed line, `top` the value of a full bar.
    """
    if not rows or any(not len(values) for values in rows.values()):
        raise InputError("bars need at least one row and a value in each")
    bars = [
        {
            "name": name,
            "width": f"{100 * float(np.mean(values)) / top:.2f}",
            "ticks": [(f"{100 * value / top:.2f}", f"{value:.1f}") for value in values],
            "summary": mean_spread(values),
        }
        for name, values in rows.items()
    ]
    line = marker and {"name": marker[0], "value": f"{marker[1]:.1f}", "place": f"{100 * marker[1] / top:.2f}"}
    return render("bars.html", bars=bars, marker=line)


def mean_spread(values: Sequence[float]) -> str:
    """Return "66.1 ± 0.8": mean and sample standard deviation; the mean alone for a single value."""
    if len(values) < 2:
        return f"{float(np.mean(values)):.1f}"
    return f"{float(np.mean(values)):.1f} ± {float(np.std(values, ddof=1)):.1f}"


class _Scale:
    """A straight line from data to pixels; a range of one value is put in the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start, self.end = low, start, end
        self.span = high - low

    def __call__(self, value: float) -> float:
        share = (value - self.low) / self.span if self.span > 0 else 0.5
        return float(self.start + share * (self.end - self.start))


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(float(low), float(high), start, end)


def _clean(x: ArrayLike, y: ArrayLike, positive: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y without pairs that are not finite (or, with `positive`, whose y is not positive)."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"a line needs x and y of one length; got {a.shape} and {b.shape}")
    keep = np.isfinite(a) & np.isfinite(b) & ((b > 0) | (not positive))
    return a[keep], b[keep]


def _dots(
    x: NDArray[np.float64], y: NDArray[np.float64], to_x: _Scale, to_y: Callable[[float], float]
) -> list[tuple[str, str, str]]:
    """Return (x, y, title) of every point of a line, in pixels."""
    return [
        (f"{to_x(a):.1f}", f"{to_y(b):.1f}", f"{_number(a)}: {_number(b)}")
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]


def _log(value: float, wanted: bool) -> float:
    return math.log10(value) if wanted else float(value)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers that cover [low, high]."""
    if high <= low:
        return [float(low)]
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten that cover [low, high]; powers alone over more than two decades."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**e for e in exponents for m in ((1, 2, 5) if len(exponents) <= 3 else (1,))]
    below = [tick for tick in fine if tick <= low * 1.0001]
    above = [tick for tick in fine if tick >= high * 0.9999]
    return [tick for tick in fine if (not below or tick >= below[-1]) and (not above or tick <= above[0])]


def _number(value: float) -> str:
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2g}"
    return f"{value:.4g}"

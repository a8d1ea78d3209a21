"""Charts as inline SVG. Colours come from the page's style sheet, so they follow its light or dark dress."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act3d.errors import InputError

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40


def line_chart(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    x_label: str,
    y_label: str,
    log_y: bool = False,
    size: tuple[int, int] = (440, 280),
) -> str:
    """Lines over a common axis, one for each (x, y) of `series`; values that are not finite are left out.

    At most eight lines get colours of their own. With `log_y`, values must be positive to be drawn.

    Raises:
        InputError: nothing to draw.
    """
    lines = {name: _clean(x, y, log_y) for name, (x, y) in series.items()}
    lines = {name: line for name, line in lines.items() if len(line[0])}
    if not lines:
        raise InputError(f"no finite values to draw for {y_label!r}")
    width, height = size
    all_x, all_y = (np.concatenate([line[i] for line in lines.values()]) for i in (0, 1))
    x_ticks = _ticks(all_x.min(), all_x.max(), 5)
    y_ticks = _log_ticks(all_y.min(), all_y.max()) if log_y else _ticks(all_y.min(), all_y.max(), 4)
    to_x = _scale(min(all_x.min(), x_ticks[0]), max(all_x.max(), x_ticks[-1]), _LEFT, width - _RIGHT)
    low, high = min(all_y.min(), y_ticks[0]), max(all_y.max(), y_ticks[-1])
    to_y = _scale(_log(low, log_y), _log(high, log_y), height - _BOTTOM, _TOP)

    parts = [_axes(x_ticks, y_ticks, to_x, lambda v: to_y(_log(v, log_y)), x_label, width, height)]
    for index, (x, y) in enumerate(lines.values()):
        path = " ".join(f"{to_x(a):.1f},{to_y(_log(b, log_y)):.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<polyline class="line s{index % 8}" points="{path}"/>')
        if len(x) <= 40:
            parts += [
                f'<circle class="dot s{index % 8}" cx="{to_x(a):.1f}" cy="{to_y(_log(b, log_y)):.1f}" r="2.4">'
                f"<title>{_number(a)}: {_number(b)}</title></circle>"
                for a, b in zip(x, y, strict=True)
            ]
    legend = "".join(f'<span><i class="key s{i % 8}"></i>{escape(name)}</span>' for i, name in enumerate(lines))
    chart = _svg(width, height, f"{y_label} over {x_label}", "".join(parts))
    return f'<div class="chart"><div class="legend"><b>{escape(y_label)}</b>{legend}</div>{chart}</div>'


def scatter_map(
    xy: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    names: Sequence[str] | None = None,
    strong: ArrayLike | None = None,
    size: tuple[int, int] = (760, 620),
) -> str:
    """A map of points coloured by class, each class named at its middle.

    Args:
        xy: Positions with shape (S, 2).
        labels: Class ids with shape (S,); -1 for none (grey).
        classes: Name of every class id.
        names: What each point is; shown when the pointer rests on it.
        strong: (S,) True for points to draw full, the others are drawn faint; by default all are full.
    """
    places, ids = np.asarray(xy, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if places.ndim != 2 or places.shape[1] != 2 or ids.shape != places.shape[:1] or not np.isfinite(places).all():
        raise InputError(f"a map needs finite positions (S, 2) and labels (S,); got {places.shape} and {ids.shape}")
    full = np.ones(len(ids), dtype=bool) if strong is None else np.asarray(strong, dtype=bool)
    width, height = size
    low, high = places.min(axis=0), places.max(axis=0)
    to_x, to_y = _scale(low[0], high[0], 24, width - 24), _scale(low[1], high[1], height - 24, 24)
    parts = []
    for i in np.argsort(full, kind="stable"):  # faint ones first, so that full ones lie on top
        what = classes[ids[i]] if ids[i] >= 0 else "no class"
        title = escape(f"{names[i]} · {what}" if names is not None else what)
        parts.append(
            f'<circle cx="{to_x(places[i, 0]):.1f}" cy="{to_y(places[i, 1]):.1f}" r="{5 if full[i] else 3.4}" '
            f'fill="{class_color(ids[i], len(classes))}" fill-opacity="{0.92 if full[i] else 0.32}">'
            f"<title>{title}</title></circle>"
        )
    parts.append(_class_names(places, ids, classes, to_x, to_y, width))
    return f'<div class="chart map">{_svg(width, height, "map of embeddings by class", "".join(parts))}</div>'


def bar_rows(rows: Mapping[str, Sequence[float]], marker: tuple[str, float] | None = None, top: float = 100.0) -> str:
    """One bar a row (name -> values of the seeds): the mean as bar, each value as tick; `marker` is a named line."""
    if not rows or any(not len(values) for values in rows.values()):
        raise InputError("bars need at least one row and a value in each")
    parts = []
    for index, (name, values) in enumerate(rows.items()):
        mean = float(np.mean(values))
        ticks = "".join(f'<i style="left:{100 * v / top:.2f}%" title="{v:.1f}"></i>' for v in values)
        line = f'<u style="left:{100 * marker[1] / top:.2f}%"></u>' if marker else ""
        parts.append(
            f'<div class="bar"><span>{escape(name)}</span><div><b class="s{index % 8}" '
            f'style="width:{100 * mean / top:.2f}%"></b>{ticks}{line}</div><em>{mean_spread(values)}</em></div>'
        )
    note = f'<p class="note">Dashed: {escape(marker[0])} ({marker[1]:.1f}).</p>' if marker else ""
    return f'<div class="bars">{"".join(parts)}</div>{note}'


def mean_spread(values: Sequence[float]) -> str:
    """ "66.1 ± 0.8": mean and sample standard deviation; the mean alone for a single value."""
    if len(values) < 2:
        return f"{float(np.mean(values)):.1f}"
    return f"{float(np.mean(values)):.1f} ± {float(np.std(values, ddof=1)):.1f}"


def class_color(index: int, count: int) -> str:
    """CSS colour of a class, readable on white and on black; neighbours in the list differ in lightness too."""
    if index < 0:
        return "#888"
    return f"hsl({(index * 360 / max(count, 1)) % 360:.0f} {(72, 58)[index % 2]}% {(47, 60)[index % 2]}%)"


def _class_names(
    places: NDArray[np.float64],
    ids: NDArray[np.int64],
    classes: Sequence[str],
    to_x: "_Scale",
    to_y: "_Scale",
    width: int,
) -> str:
    """Each class's name at the median of its points, moved down where it would cover a name already there."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for index in np.unique(ids[ids >= 0]):
        middle = np.median(places[ids == index], axis=0)
        half = 4.2 * len(classes[index]) + 4
        x = float(np.clip(to_x(middle[0]), half, width - half))
        y = to_y(middle[1])
        while any(abs(x - a) < half + c and abs(y - b) < 17 for a, b, c in taken):
            y += 6
        taken.append((x, y, half))
        parts.append(f'<text class="name" x="{x:.1f}" y="{y:.1f}">{escape(classes[index])}</text>')
    return "".join(parts)


class _Scale:
    """A straight line from data to the picture; one value becomes the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start, self.end = low, start, end
        self.span = high - low

    def __call__(self, value: float) -> float:
        share = (value - self.low) / self.span if self.span > 0 else 0.5
        return float(self.start + share * (self.end - self.start))


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(float(low), float(high), start, end)


def _clean(x: ArrayLike, y: ArrayLike, positive: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"a line needs x and y of one length; got {a.shape} and {b.shape}")
    keep = np.isfinite(a) & np.isfinite(b) & ((b > 0) | (not positive))
    return a[keep], b[keep]


def _log(value: float, wanted: bool) -> float:
    return math.log10(value) if wanted else float(value)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers that cover [low, high]."""
    if high <= low:
        return [float(low)]
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten that cover [low, high]; powers alone when that is plenty."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**e for e in exponents for m in ((1, 2, 5) if len(exponents) <= 3 else (1,))]
    below = [tick for tick in fine if tick <= low * 1.0001]
    above = [tick for tick in fine if tick >= high * 0.9999]
    return [tick for tick in fine if (not below or tick >= below[-1]) and (not above or tick <= above[0])]


def _number(value: float) -> str:
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2g}"
    return f"{value:.4g}"


def _axes(
    x_ticks: list[float],
    y_ticks: list[float],
    to_x: _Scale,
    to_y: Callable[[float], float],
    x_label: str,
    width: int,
    height: int,
) -> str:
    floor = height - _BOTTOM
    parts = []
    for tick in y_ticks:
        y = f"{to_y(tick):.1f}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{y}" dy="4">{_number(tick)}</text>')
    for tick in x_ticks:
        parts.append(f'<text class="tick mid" x="{to_x(tick):.1f}" y="{floor + 17}">{_number(tick)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.append(f'<text class="tick end" x="{width - _RIGHT}" y="{height - 5}">{escape(x_label)}</text>')
    return "".join(parts)


def _svg(width: int, height: int, label: str, content: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'

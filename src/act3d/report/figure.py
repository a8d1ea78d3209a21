"""Figures of clouds for papers and pages: a grid of clouds with what is measured on each, in six formats."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act3d.errors import InputError
from act3d.files import atomic_path
from act3d.report.charts import middles
from act3d.report.class_colors import class_marks
from act3d.report.cloud_picture import cloud_image, ramp_colors
from act3d.report.lettering import fitted, place_names, shortened
from act3d.report.page import write_page
from act3d.report.pieces import EmbeddingMap, map_chart
from act3d.report.turning import write_turning
from act3d.report.viewer import BY_HEIGHT, Card, Coloring, point_radius, view

SUFFIXES = (".html", ".png", ".pdf", ".svg", ".webp", ".gif")
TURNING = (".webp", ".gif")  # the clouds turn once around
FRAMES, TURNING_DPI = 36, 110
DPI = 300
# Ground, ink, and a softer ink.
THEMES = {"light": ("#ffffff", "#1d2126", "#5d666f"), "dark": ("#14171a", "#e8e6e1", "#9aa3ab")}
_NOTE_LINE, _TITLE_LINE, _GAP = 0.14, 0.17, 0.04  # inches; the gap parts a cloud from the note below it


@dataclass(frozen=True)
class Panel:
    """A cloud of a figure.

    Attributes:
        points: (N, 3), y up; an empty one leaves the place free.
        title: above it. note: below it, what was measured; may have several lines.
        bounds: centre and half width of what is shown, so that panels of a row compare; by default the cloud's own.
        mark: "right" or "wrong" where the panel answers a question, else "".
        radius: of a point, in units of half the panel's width; by default by the number of points.
    """

    points: ArrayLike
    title: str = ""
    note: str = ""
    coloring: Coloring = BY_HEIGHT
    bounds: tuple[ArrayLike, float] | None = None
    mark: str = ""
    radius: float | None = None


@dataclass(frozen=True)
class Figure:
    """A grid of panels, or a map.

    Attributes:
        title: of the page. note: what is shown and how it was measured.
        rows: panels, row by row. names: of the rows, if they have any.
        legend: names with CSS colours. scale: what the ramp of colours means, as (low, high); None = no ramp.
        map, classes: a map of embeddings instead of panels, and the names of its classes.
    """

    title: str
    rows: Sequence[Sequence[Panel]] = ()
    names: Sequence[str] = ()
    note: str = ""
    legend: Sequence[tuple[str, str]] = ()
    scale: tuple[str, str] | None = None
    map: EmbeddingMap | None = None
    classes: Sequence[str] = field(default_factory=list)


def check_figure_path(path: str | Path) -> None:
    """Check that a figure can be written to a file of this name.

    Raises:
        InputError: the suffix is none of SUFFIXES.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"out: {path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def write_figure(path: str | Path, figure: Figure, width: float = 7.0, theme: str = "light") -> Path:
    """Write a figure in the format of the file's suffix, whole or not at all, and return its path.

    Args:
        path: .html (clouds can be turned), .png, .pdf, .svg, or .webp and .gif (clouds turn by themselves).
        figure: What to show.
        width: In inches, of all but html: 3.25 fits a column, 7 the page of most papers. Letters have 7 points.
        theme: "light" or "dark", of all but html, which follows its reader's.

    Raises:
        InputError: another suffix, or nothing to show.
    """
    check_figure_path(path)
    if not figure.rows and figure.map is None:
        raise InputError(f"{figure.title}: nothing to show")
    path = Path(path)
    if path.suffix.lower() == ".html":
        return _write_html(path, figure)
    if path.suffix.lower() in TURNING:
        if not figure.rows:
            raise InputError(f"out: {path}: a map does not turn; write it as .png, .pdf, .svg or .html")
        turn = np.linspace(35, 395, FRAMES, endpoint=False)
        return write_turning(path, [figure_image(figure, width, TURNING_DPI, theme, at) for at in turn])
    with _style(theme):
        drawn = _draw_map(figure, width, theme) if figure.map is not None else _draw_grid(figure, width, theme)
        buffer = io.BytesIO()
        kind = path.suffix.lower()[1:]
        about = {"png": {"Software": "act3d"}, "pdf": {"Creator": "act3d"}, "svg": {"Creator": "act3d", "Date": None}}[
            kind
        ]
        drawn.savefig(buffer, format=kind, dpi=DPI, metadata=about)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path


def figure_image(
    figure: Figure, width: float = 7.0, dpi: int = 100, theme: str = "light", azimuth: float = 35.0
) -> NDArray[np.uint8]:
    """Return a figure as a picture (H, W, 3), `width` inches wide, its clouds seen from `azimuth` (degrees)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _style(theme):
        grid = figure.map is None
        drawn = _draw_grid(figure, width, theme, dpi, azimuth) if grid else _draw_map(figure, width, theme)
        drawn.set_dpi(dpi)
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _write_html(path: Path, figure: Figure) -> Path:
    names = list(figure.names) or [""] * len(figure.rows)
    rows = [(name, [_card(panel) for panel in row]) for name, row in zip(names, figure.rows, strict=True)]
    ramp = [f"#{color.tobytes().hex()}" for color in BY_HEIGHT.palette]
    shown = None if figure.map is None else map_chart(figure.map, figure.classes)
    return write_page(path, "figure.html", figure=figure, rows=rows, ramp=ramp, map=shown)


def _card(panel: Panel) -> Card:
    if not len(np.asarray(panel.points)):
        return Card(panel.title, panel.note, [])
    shown = view(panel.points, panel.title or "shape", panel.coloring, panel.bounds, panel.radius)
    return Card(panel.title, panel.note, [("", shown)], panel.mark)


def _style(theme: str) -> AbstractContextManager[Any]:
    """Letters of 7 points that a PDF holds as outlines which can be searched (type 42), on the theme's ground."""
    import matplotlib

    ground, ink, soft = THEMES[theme]
    return matplotlib.rc_context(
        {
            "font.size": 7, "font.family": "DejaVu Sans", "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path",
            "svg.hashsalt": "act3d", "figure.facecolor": ground, "savefig.facecolor": ground, "axes.facecolor": ground,
            "text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": soft, "xtick.color": soft, "ytick.color": soft,
        }
    )  # fmt: skip


def _draw_grid(figure: Figure, width: float, theme: str, dpi: int = DPI, azimuth: float = 35.0) -> Any:
    from matplotlib.figure import Figure as Canvas

    columns = max(len(row) for row in figure.rows)
    side = width / columns
    pixels = int(np.clip(side * dpi, 80, 700))
    titles = [_TITLE_LINE * any(panel.title for panel in row) for row in figure.rows]
    lines = [max(panel.note.count("\n") + bool(panel.note) for panel in row) for row in figure.rows]
    notes = [_NOTE_LINE * count + _GAP * (count > 0) for count in lines]
    names = [_TITLE_LINE * bool(name) for name in (list(figure.names) or [""] * len(figure.rows))]
    foot = _foot_height(figure, width)
    height = sum(titles) + sum(notes) + sum(names) + side * len(figure.rows) + foot
    canvas = Canvas(figsize=(width, height))
    top = height
    for place, row in enumerate(figure.rows):
        if names[place]:
            canvas.text(0.005, (top - 0.03) / height, figure.names[place], va="top", weight="bold", parse_math=False)
        top -= names[place]
        for column, panel in enumerate(row):
            _draw_panel(canvas, panel, column * side, top, side, titles[place], (width, height), pixels, theme, azimuth)
        top -= titles[place] + side + notes[place]
    _draw_foot(canvas, figure, width, height, foot)
    return canvas


def _draw_panel(
    canvas: Any, panel: Panel, left: float, top: float, side: float, title: float, size: tuple[float, float],
    pixels: int, theme: str, azimuth: float,
) -> None:  # fmt: skip
    """Draw one panel whose title starts at (left, top), in inches from the lower left corner."""
    width, height = size
    middle = (left + side / 2) / width
    color = {"right": "#009e73", "wrong": "#d55e00"}.get(panel.mark, THEMES[theme][1])
    mark = {"right": "✓ ", "wrong": "✗ "}.get(panel.mark, "")
    points, fits = fitted(len(mark + panel.title), side, 7)
    shown: dict[str, Any] = {"ha": "center", "parse_math": False}
    text = mark + shortened(panel.title, fits - len(mark))
    canvas.text(middle, (top - title + 0.03) / height, text, va="bottom", color=color, size=points, **shown)
    points, fits = fitted(max(map(len, panel.note.split("\n"))), side, 6.5, least=3)  # numbers stay whole
    note = "\n".join(shortened(line, fits) for line in panel.note.split("\n"))
    note_at = (top - title - side - _GAP / 2) / height
    canvas.text(middle, note_at, note, va="top", color=THEMES[theme][2], size=points, **shown)
    cloud = np.asarray(panel.points)
    if not len(cloud):
        return
    axes = canvas.add_axes((left / width, (top - title - side) / height, side / width, side / height))
    radius = max(point_radius(len(cloud)) if panel.radius is None else panel.radius, 0.012)
    axes.imshow(cloud_image(cloud, panel.coloring.rgb(cloud), pixels, radius, azimuth, bounds=panel.bounds))
    axes.set_axis_off()


def _entries(figure: Figure) -> Sequence[tuple[str, str, str]]:
    """Name, colour and marker of every entry of the legend: the classes on a map, else what the figure says."""
    if figure.map is None:
        return [(name, color, "s") for name, color in figure.legend]
    return list(dict.fromkeys(class_marks(figure.map.labels, figure.classes).values()))


def _legend_places(figure: Figure, width: float) -> list[tuple[float, int]]:
    """Where the entries of the legend begin: inches from the left, and line from above."""
    places, x, line = [], 0.06, 0
    for name, _, _ in _entries(figure):
        wide = len(name) * 0.065 + 0.3
        if x + wide > width and x > 0.1:
            x, line = 0.06, line + 1
        places.append((x, line))
        x += wide
    return places


def _foot_height(figure: Figure, width: float) -> float:
    lines = max((line + 1 for _, line in _legend_places(figure, width)), default=0)
    return 0.2 * lines + (0.28 if figure.scale else 0) + 0.04


def _draw_foot(canvas: Any, figure: Figure, width: float, height: float, foot: float) -> None:
    """Draw the legend, and the ramp with its ends, at the bottom of the figure."""
    from matplotlib.lines import Line2D

    for (name, color, marker), (x, line) in zip(_entries(figure), _legend_places(figure, width), strict=True):
        y = (foot - 0.11 - 0.2 * line) / height
        style: dict[str, Any] = {"marker": marker, "markersize": 6, "linestyle": "none", "color": color}
        canvas.add_artist(Line2D([(x + 0.05) / width], [y], transform=canvas.transFigure, **style))
        canvas.text((x + 0.15) / width, y, name, va="center_baseline", parse_math=False)
    if figure.scale:
        low, high = figure.scale
        axes = canvas.add_axes((0.3, 0.1 / height, 0.4, 0.1 / height))
        axes.imshow(ramp_colors(np.linspace(0, 1, 256))[None], aspect="auto")
        axes.set_axis_off()
        for text, at, side in ((low, 0.29, "right"), (high, 0.71, "left")):
            canvas.text(at, 0.15 / height, text, ha=side, va="center", parse_math=False)


def _draw_map(figure: Figure, width: float, theme: str) -> Any:
    """Draw a map: colour and marker tell the class, with any kind of colour vision; its name stands at its middle."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.patheffects import withStroke

    assert figure.map is not None
    shown, ground, high = figure.map, THEMES[theme][0], 0.72 * width
    foot = _foot_height(figure, width)
    canvas = Canvas(figsize=(width, high + foot))
    axes = canvas.add_axes((0, foot / (high + foot), 1, high / (high + foot)))
    low, spread = shown.xy.min(axis=0), np.maximum(np.ptp(shown.xy, axis=0), 1e-9)
    size = 72 * np.array([width, high])  # points, the unit of letters
    xy = 12 + (shown.xy - low) / spread * (size - 24)
    axes.set_xlim(0, size[0])
    axes.set_ylim(0, size[1])
    marks = class_marks(shown.labels, figure.classes)
    for test, area, alpha in ((False, 12, 0.4), (True, 20, 0.95)):
        for label in np.unique(shown.labels[shown.test == test]).tolist():
            at = xy[(shown.test == test) & (shown.labels == label)]
            _, color, marker = marks[label]
            line = None if marker == "x" else 0.0
            axes.scatter(at[:, 0], at[:, 1], s=area * width / 7, c=color, marker=marker, alpha=alpha, linewidths=line)
    names = [(figure.classes[i], float(x), float(size[1] - y)) for i, (x, y) in middles(xy, shown.labels).items()]
    if len(names) > 6 * width:  # they would hide the map; the legend has them
        names = []
    for name, x, y in place_names(names, float(size[0]), float(size[1]), letter=4.3, line=7.5):
        text = axes.text(x, size[1] - y, name, ha="center", va="center", size=6, weight="bold", parse_math=False)
        text.set_path_effects([withStroke(linewidth=2, foreground=ground)])
    axes.set_axis_off()
    _draw_foot(canvas, figure, width, high + foot, foot)
    return canvas

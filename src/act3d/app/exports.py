"""Shapes of a library as a table, or as one page that can be passed on."""

from collections.abc import Sequence

from act3d.app.library import Library
from act3d.files import printable
from act3d.report.search import FoundShape, shapes_page
from act3d.tables import Cell, Table

MOST_SHARED = 300  # shapes on a page; each is 8 KB


def as_csv(library: Library, rows: Sequence[int], similarity: Sequence[float] | None) -> str:
    """Return shapes as CSV: name, class, similarity (empty where nothing was searched for), extents, path."""
    lines: list[list[Cell]] = []
    for place, row in enumerate(rows):
        size = [library.columns[name][row] for name in ("width", "height", "depth")]
        near = None if similarity is None else round(similarity[place], 4)
        lines.append([library.names[row], library.columns["class"][row], near, *size, printable(library.paths[row])])
    return Table(["shape", "class", "similarity", "width", "height", "depth", "path"], lines).csv()


def as_page(library: Library, rows: Sequence[int], similarity: Sequence[float] | None, title: str) -> str:
    """Return shapes as a self-contained page, the first `MOST_SHARED` of them. It names no path of this machine."""
    shown = []
    for place, row in enumerate(rows[:MOST_SHARED]):
        near = "" if similarity is None else f"{similarity[place]:.3f}"
        remark = " · ".join(filter(None, [near, library.columns["class"][row]]))
        shown.append(FoundShape(library.names[row], remark, library.clouds[row].astype("float32")))
    return str(shapes_page(printable(title), len(library), shown))

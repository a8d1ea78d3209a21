"""The page of a dataset: what it holds, whether its shapes stand upright, and which of them are unlike the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from act3d.report.page import write_page
from act3d.report.pieces import Named, named_card
from act3d.report.viewer import BY_HEIGHT, Card, Coloring, view


@dataclass(frozen=True)
class ClassRow:
    """One class: clouds by split, median extents along x, y, z (radius 1), median original radius (None = unknown)."""

    name: str
    counts: Mapping[str, int]
    extents: tuple[float, float, float]
    radius: float | None


@dataclass(frozen=True)
class RoomView:
    """A room, (n, 3) with y up, coloured by class."""

    name: str
    points: object
    coloring: Coloring


@dataclass(frozen=True)
class DatasetPage:
    """Everything on the page.

    Attributes:
        name: of the dataset. facts: what its description says.
        splits: their names, in the order of the table.
        classes: rows of the table. unit: of the radius; "" = not known.
        examples: a few shapes of every class, by class.
        odd: shapes unlike the others of their class, with the reason as remark.
        rooms: instead of shapes. legend: class names with their CSS colours.
    """

    name: str
    facts: Mapping[str, str]
    splits: Sequence[str] = ()
    classes: Sequence[ClassRow] = ()
    unit: str = ""
    examples: Mapping[str, Sequence[Named]] = field(default_factory=dict)
    odd: Sequence[Named] = ()
    rooms: Sequence[RoomView] = ()
    legend: Sequence[tuple[str, str]] = ()


def write_dataset_page(path: str | Path, page: DatasetPage) -> Path:
    """Write the page as one HTML file and return its path."""
    most = max((sum(row.counts.values()) for row in page.classes), default=1)
    radius = f"radius, {page.unit}" if page.unit else "radius"
    known = any(row.radius is not None for row in page.classes)
    return write_page(
        path,
        "dataset.html",
        page=page,
        header=["class", *page.splits, "width x", "height y", "depth z", *([radius] if known else [])],
        rows=[_row(row, page.splits, known) for row in page.classes],
        bars=[
            (row.name, [(split, 100 * row.counts.get(split, 0) / most) for split in page.splits])
            for row in page.classes
        ],
        examples=[(name, [named_card(shape, still=110) for shape in shapes]) for name, shapes in page.examples.items()],
        odd=[named_card(shape) for shape in page.odd],
        rooms=[Card(room.name, "", [("", _room(room))]) for room in page.rooms],
    )


def _row(row: ClassRow, splits: Sequence[str], known: bool) -> list[str]:
    radius = [] if not known else ["" if row.radius is None else f"{row.radius:.3g}"]
    return [row.name, *(str(row.counts.get(split, 0)) for split in splits), *(f"{x:.2f}" for x in row.extents), *radius]


def _room(room: RoomView) -> Markup:
    return view(room.points, room.name, room.coloring or BY_HEIGHT, still=420)  # type: ignore[arg-type]

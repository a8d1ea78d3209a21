"""Pages of shapes that were found: of `act3d search`, every query beside them; of `act3d app`, they alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from act3d.report.page import render, write_page
from act3d.report.viewer import Card, view


@dataclass(frozen=True)
class FoundShape:
    """A shape on the page: name, a remark such as class and similarity, points (N, 3) or None if unknown, and file."""

    name: str
    remark: str
    points: NDArray[np.floating] | None
    path: str = ""


def write_search_page(
    path: str | Path,
    index: str,
    shapes: int,
    answers: Sequence[tuple[FoundShape, Sequence[FoundShape]]],
    title: str = "nearest to",
    measure: str = "the cosine of scaled embeddings: 1 means the same",
) -> Path:
    """Write the page and return its path.

    Args:
        path: The file to write.
        index: The folder of the index.
        shapes: How many shapes it holds.
        answers: Every query with the shapes that were found, nearest first.
        title: What a shape found is to the query.
        measure: What the number beside a shape found means; "" = there is none.
    """
    cards = [
        (_card(query, "query"), [_card(shape, f"{rank}.") for rank, shape in enumerate(found, start=1)])
        for query, found in answers
    ]
    return write_page(path, "search.html", index=index, shapes=shapes, answers=cards, title=title, measure=measure)


def shapes_page(heading: str, shapes: int, found: Sequence[FoundShape]) -> Markup:
    """Return a page of shapes that were found among `shapes`."""
    return render("shapes.html", heading=heading, shapes=shapes, cards=[_card(shape, "") for shape in found])


def _card(shape: FoundShape, caption: str) -> Card:
    views = [] if shape.points is None else [(caption, view(shape.points, shape.name, still=140))]
    return Card(shape.name, shape.remark, views, place=shape.path)

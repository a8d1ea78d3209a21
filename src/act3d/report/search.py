"""The page of `act3d search`: every query beside the shapes that were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act3d.report.cloud_picture import render_cloud
from act3d.report.page import write_page


@dataclass(frozen=True)
class FoundShape:
    """A shape on the page: name, a remark such as its class and similarity, and points (N, 3) or None if unknown."""

    name: str
    remark: str
    points: NDArray[np.floating] | None


def write_search_page(
    path: str | Path, index: str, shapes: int, answers: Sequence[tuple[FoundShape, Sequence[FoundShape]]]
) -> Path:
    """Write the page and return its path.

    Args:
        path: The file to write.
        index: The folder of the index.
        shapes: How many shapes it holds.
        answers: Every query with the shapes that were found, nearest first.
    """
    queries = [
        (query.name, [_card(query, "query"), *(_card(shape, f"{rank}.") for rank, shape in enumerate(found, start=1))])
        for query, found in answers
    ]
    return write_page(path, "search.html", index=index, shapes=shapes, queries=queries)


def _card(shape: FoundShape, caption: str) -> tuple[str, str, list[tuple[str, bytes]]]:
    pictures = [] if shape.points is None else [(caption, render_cloud(shape.points, size=220))]
    return shape.name, shape.remark, pictures

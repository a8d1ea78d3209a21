"""The confusion matrix, as numbers and as a picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.files import atomic_path, write_text
from act3d.report.page import write_page
from act3d.report.viewer import Card, view


def write_confusion(
    confusion: NDArray[np.int64],
    classes: Sequence[Any],
    folder: Path,
    mistakes: Sequence[tuple[str, int, int, NDArray[Any]]] = (),
) -> None:
    """Write `confusion.csv`, `confusion.png` and `confusion.html` into a folder.

    Args:
        confusion: (K, K) counts; rows are the true classes, columns the predicted ones.
        classes: K names.
        folder: Where they are written.
        mistakes: (name, true class id, predicted class id, points (N, 3)) of misclassified shapes, for the page.
    """
    names = [str(name) for name in classes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true class", *names])
    writer.writerows([name, *row] for name, row in zip(names, confusion.tolist(), strict=True))
    write_text(folder / "confusion.csv", text.getvalue())
    _write_picture(confusion, names, folder / "confusion.png")
    _write_page(confusion, names, folder / "confusion.html", mistakes)


def _write_page(
    confusion: NDArray[np.int64], names: list[str], path: Path, mistakes: Sequence[tuple[str, int, int, NDArray[Any]]]
) -> None:
    """Write a page on which a count opens the shapes that it counts."""
    groups: dict[tuple[int, int], list[Card]] = {}
    for name, truth, predicted, points in mistakes:
        card = Card(name, "", [("", view(points, name, still=120))])
        groups.setdefault((truth, predicted), []).append(card)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    cells = [
        [(int(confusion[i, j]), round(100 * float(share[i, j])), (i, j) in groups) for j in range(len(names))]
        for i in range(len(names))
    ]
    order = sorted(groups, key=lambda pair: (-confusion[pair], pair))
    shown = [
        (pair, f"{names[pair[0]]} taken for {names[pair[1]]}", int(confusion[pair]), groups[pair]) for pair in order
    ]
    right, total = int(confusion.trace()), int(confusion.sum())
    write_page(path, "confusion.html", names=names, cells=cells, groups=shown, right=right, total=total)


def _write_picture(confusion: NDArray[np.int64], names: list[str], path: Path) -> None:
    from matplotlib.figure import Figure

    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.28 * len(names)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    shown: dict[str, Any] = {"fontsize": 8, "parse_math": False}  # a dollar in a name is a dollar
    axes.set_xticks(range(len(names)), names, rotation=90, **shown)
    axes.set_yticks(range(len(names)), names, **shown)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in zip(*np.nonzero(confusion), strict=True):
        color = "white" if share[row, column] > 0.6 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")

"""The confusion matrix as files."""

import csv
from pathlib import Path

import numpy as np

from act3d.report.confusion import write_confusion


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ["$\\\\frac{$ & <b>", "a_{$", "[bold]"]
    write_confusion(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), names, tmp_path)
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["true class", *names], [names[0], "3", "1", "0"], [names[1], "0", "2", "0"], [names[2], *"000"]]

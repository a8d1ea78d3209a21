"""The three label tables that ship with act3d."""

import csv
from pathlib import Path


def read_labels(name: str) -> list[dict[str, str]]:
    """Rows of `kicad_labels.csv`, `furniture_labels.csv` or `ldraw_labels.csv`."""
    with (Path(__file__).parent / f"{name}_labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))

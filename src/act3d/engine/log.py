"""metrics.csv, which stays whole when a run is killed and resumed, and the loggers beside it."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.files import atomic_path, read_metrics, space_for

if TYPE_CHECKING:
    from lightning_fabric.loggers.logger import Logger


class MetricsLog:
    """Rows of numbers by optimizer step, in `metrics.csv` and in other loggers.

    A resumed run throws away rows that came after the checkpoint it resumes from; it will write them again.

    Args:
        folder: the run folder.
        columns: names of all numbers that may come, in the order of the file.
        row_count: rows that belong to the past of this run (0 for a new one).
        loggers: get the same numbers; see `act3d.engine.loggers`.
    """

    def __init__(self, folder: Path, columns: list[str], row_count: int = 0, loggers: "Sequence[Logger]" = ()) -> None:
        self.path = folder / "metrics.csv"
        self.columns = ["step", "epoch", *columns]
        self.rows = self._cut(row_count)
        self._file = self.path.open("a", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, self.columns, lineterminator="\n")
        self.loggers = list(loggers)

    def _cut(self, row_count: int) -> int:
        kept: list[dict[str, str]] = []
        if row_count and self.path.exists():
            kept = read_metrics(self.path)[:row_count]
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
        return len(kept)

    def write(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Append one row; numbers that are absent stay empty."""
        unknown = set(values) - set(self.columns)
        if unknown:
            raise ValueError(f"metrics.csv has no column for {sorted(unknown)}")
        row: dict[str, Any] = {"step": step, "epoch": epoch}
        row.update({name: f"{value:.9g}" for name, value in values.items()})
        with space_for(self.path):
            self._csv.writerow(row)
            self._file.flush()
        self.rows += 1
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for logger in self.loggers:
            logger.log_metrics(finite, step)

    def close(self) -> None:
        """Flush and close all."""
        self._file.close()
        for logger in self.loggers:
            logger.finalize("success")

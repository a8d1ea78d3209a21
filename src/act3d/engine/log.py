"""metrics.csv and TensorBoard events that stay whole when a run is killed and resumed."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from act3d.files import atomic_path, read_metrics, space_for


class MetricsLog:
    """Rows of numbers by optimizer step, in `metrics.csv` and as TensorBoard scalars.

    A resumed run throws away rows that came after the checkpoint it resumes from; it will write them again.

    Args:
        folder: the run folder.
        columns: names of all numbers that may come, in the order of the file.
        row_count: rows that belong to the past of this run (0 for a new one).
        step: the step this run starts from.
    """

    def __init__(self, folder: Path, columns: list[str], row_count: int = 0, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "metrics.csv"
        self.columns = ["step", "epoch", *columns]
        self.rows = self._cut(row_count)
        self._file = self.path.open("a", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, self.columns, lineterminator="\n")
        # purge_step hides the events that a killed run wrote after the checkpoint.
        self._board = SummaryWriter(str(folder), purge_step=step + 1 if row_count else None)

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
        for name, value in values.items():
            if math.isfinite(value):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()

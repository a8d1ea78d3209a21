"""Clouds in memory as one array, for the smaller released datasets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from act3d.data.clouds import CloudDataset, Stored, choose_points
from act3d.errors import InputError


class ArrayClouds(CloudDataset):
    """Clouds from arrays. See `CloudDataset` for attributes and batches.

    When all stored points are asked for they come in the stored order, so that sampling on them is repeatable.

    Args:
        stored: Points with shape (S, P, 3), float32.
        labels: (S,) class ids; -1 = none.
        classes: Class names.
        names: One name a cloud.
        about: Entries of `meta`: name, fingerprint, licence ...; up, source_up, scale, unit have defaults.
        points: Points given per cloud; all by default.
        seed: Seed of their random subset.
        normalization: "unit_sphere" or "none".

    Raises:
        InputError: shapes that do not fit, labels that are no class, coordinates that are not finite, or more points
            asked for than there are.
    """

    def __init__(
        self,
        stored: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        names: Sequence[str],
        about: dict[str, Any],
        points: int | None = None,
        seed: int = 0,
        normalization: str = "unit_sphere",
    ):
        super().__init__(seed, normalization)
        self.name = str(about["name"])
        check_clouds(stored, labels, len(classes), self.name, list(names))
        self.stored, self.labels = stored, labels.astype(np.int64)
        self.classes, self.names = list(classes), list(names)
        self.parts, self.class_parts = [], {}
        self.points = stored.shape[1] if points is None else points
        if not 1 <= self.points <= stored.shape[1]:
            raise InputError(f"{self.points} points per cloud were asked of {self.name}; it stores {stored.shape[1]}")
        self.fingerprint = str(about["fingerprint"])
        self.describe(**about)

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, None]:
        if self.points == self.stored.shape[1]:
            return self.stored[rows], None
        picks = [choose_points(self.seed, epoch, int(row), self.stored.shape[1], self.points) for row in rows]
        return self.stored[rows[:, None], np.stack(picks)], None

    def stored_alike(self) -> Stored:
        return Stored(self.stored.shape[1], np.dtype(np.float32), ordered=True)

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, None]:
        return self.stored[rows], None


def check_clouds(stored: np.ndarray, labels: np.ndarray, classes: int, where: str, names: Sequence[str] = ()) -> None:
    """Refuse clouds that cannot be used; the error names the first bad cloud and says how many there are."""
    if stored.ndim != 3 or stored.shape[2] != 3 or labels.ndim != 1 or len(stored) != len(labels):
        raise InputError(
            f"{where}: points {stored.shape} and labels {labels.shape} must be (clouds, points, 3) and (clouds,)"
        )
    if not len(stored):
        raise InputError(f"{where} holds no clouds")

    def refuse(bad: np.ndarray, what: str) -> None:
        if len(bad):
            first = names[bad[0]] if len(names) else f"cloud {bad[0]}"
            raise InputError(f"{where}: {first} {what}" + (f", and {len(bad) - 1} more" if len(bad) > 1 else ""))

    wrong = np.flatnonzero((labels < -1) | (labels >= classes))
    refuse(wrong, f"has label {labels[wrong[0]] if len(wrong) else ''}, outside 0..{classes - 1}")
    finite = np.concatenate([np.isfinite(stored[i : i + 512]).all(axis=(1, 2)) for i in range(0, len(stored), 512)])
    refuse(np.flatnonzero(~finite), "holds coordinates that are not finite")

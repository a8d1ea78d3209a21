"""Blocks of rooms as clouds, for segmenters of scenes."""

from collections.abc import Sequence

import numpy as np

from act3d.channels import width_of
from act3d.data.clouds import CloudDataset, generator_of
from act3d.data.rooms import ROOM_CHANNELS, UNLABELLED, Grid, Room, RoomFolder
from act3d.errors import InputError

TRIES = 50  # random centres looked at before the fullest block so far is taken


class SceneBlocks(CloudDataset):
    """Random blocks of rooms: a square of the ground plane with all that is above it, centred in x and y.

    A block is drawn at another place every epoch, around a random point of a room; rooms come in proportion to their
    points. All rooms are held in memory (16 bytes a point). `parts` of a batch are the classes of the points (-1 =
    unlabelled), `label` is the room's number.

    Args:
        folder: The rooms' folder.
        rooms: Names of those to use.
        points: Points of a block.
        block: Width of a block, in the rooms' unit.
        min_points: A block with fewer points is drawn again.
        coverage: How many times an epoch draws as many points as the rooms have.
        seed: Seed of all draws.
        channels: What points have beside x, y and z: rooms have "rgb".

    Raises:
        InputError: Channels that rooms do not have, a room is damaged, or no point has a label.
    """

    def __init__(
        self,
        folder: RoomFolder,
        rooms: Sequence[str],
        points: int = 2048,
        block: float = 1.0,
        min_points: int = 1024,
        coverage: float = 1.0,
        seed: int = 0,
        channels: Sequence[str] = (),
    ) -> None:
        super().__init__(seed, "none")
        self.points, self.block, self.min_points = points, block, min_points
        self.name, self.fingerprint, self.meta = folder.name, folder.fingerprint, {**folder.meta, "points": points}
        self.channels = tuple(channels)
        if lacking := [name for name in channels if name not in ROOM_CHANNELS]:
            raise InputError(f"data.channels: rooms have no {lacking[0]}; they have xyz and {', '.join(ROOM_CHANNELS)}")
        if channels:
            self.meta["channels"] = list(channels)
        self.classes, self.parts, self.class_parts = list(folder.classes), list(folder.classes), {}
        self.rooms: list[Room] = [folder.read(room) for room in rooms]
        if not self.rooms:
            raise InputError(f"{folder.root}: no rooms to draw blocks from")
        self.grids = [Grid(room.points, block / 4) for room in self.rooms]
        sizes = np.array([len(room.points) for room in self.rooms])
        total = max(1, round(coverage * sizes.sum() / points))
        # Every room gets its share of the blocks, rounded so that they add up.
        ends = np.round(np.cumsum(sizes) / sizes.sum() * total).astype(np.int64)
        self.owner = np.searchsorted(ends, np.arange(total), side="right")
        self.labels = self.owner.astype(np.int64)
        self.names = [f"{self.rooms[owner].name}#{row}" for row, owner in enumerate(self.owner)]
        self.counts = sum(
            np.bincount(room.labels[room.labels >= 0], minlength=len(self.classes)) for room in self.rooms
        )
        if not np.any(self.counts):
            raise InputError(f"{folder.root}: no point of {len(self.rooms)} rooms has a label")

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        points = np.empty((len(rows), self.points, 3 + width_of(self.channels)), dtype=np.float32)
        labels = np.empty((len(rows), self.points), dtype=np.int64)
        for place, row in enumerate(rows.tolist()):
            room = self.rooms[self.owner[row]]
            center, chosen = self._draw(row, epoch)
            points[place] = room.with_channels(self.channels, chosen)
            points[place, :, :2] -= center
            labels[place] = room.labels[chosen]
        return points, labels

    def _draw(self, row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Centre (2,) of a block and the places of its points (N,), a pure function of (seed, epoch, row)."""
        rng = generator_of(self.seed, epoch, row)
        room, grid = self.rooms[self.owner[row]], self.grids[self.owner[row]]
        best = np.empty(0, dtype=np.int64)
        center = np.zeros(2, dtype=np.float32)
        for _ in range(TRIES):
            middle = room.points[rng.integers(len(room.points)), :2]
            inside = grid.inside(middle - self.block / 2, middle + self.block / 2)
            if len(inside) > len(best):
                center, best = middle, inside
            if len(best) > self.min_points:
                break
        return center, rng.choice(best, self.points, replace=len(best) < self.points)


__all__ = ["UNLABELLED", "SceneBlocks"]

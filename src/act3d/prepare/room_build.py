"""The shell of a random room: walls with doors and windows, beams, columns, a board; functions for furnishing it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from act3d.prepare.furniture import Model, place
from act3d.prepare.room_shell import Opening, Wall, box, quad, wall_triangles, walls_of

KINDS = ("office", "conferenceRoom", "lounge", "hallway", "storage", "pantry")
TRIES = 12


@dataclass
class Thing:
    """One instance: class, triangles (T, 3, 3), base colour (3,) in 0..255."""

    cls: str
    triangles: np.ndarray
    color: np.ndarray


@dataclass
class Design:
    """A room: kind, size (width, depth, height) in metres, things, used models, floor taken (x0, y0, x1, y1)."""

    kind: str
    size: tuple[float, float, float]
    things: list[Thing] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)


class ShellDesigner:
    """Builds the shell of one room, with its own random numbers, and records which floor is taken.

    Args:
        kind: One of `KINDS`.
        models: Furniture to choose from.
        rng: Random numbers.
    """

    def __init__(self, kind: str, models: Sequence[Model], rng: np.random.Generator) -> None:
        self.kind, self.rng = kind, rng
        self.by_class: dict[str, list[Model]] = {}
        for model in models:
            self.by_class.setdefault(model.cls, []).append(model)
        narrow = kind == "hallway"
        width = rng.uniform(5, 9) if narrow else rng.uniform(3.2, 6.5)
        depth = rng.uniform(1.7, 2.4) if narrow else rng.uniform(3.0, 5.5)
        self.room = Design(kind, (width, depth, rng.uniform(2.5, 3.2)))
        self.walls = walls_of(width, depth)
        self.openings: list[list[Opening]] = [[] for _ in self.walls]

    # ------------------------------------------------------------------ shell

    def _shell(self) -> None:
        width, depth, height = self.room.size
        rng = self.rng
        thickness = rng.uniform(0.1, 0.2)
        for _ in range(rng.integers(2, 5) if self.kind == "hallway" else rng.integers(1, 3)):
            self._door(thickness)
        for _ in range(rng.integers(0, 2) if self.kind in ("hallway", "storage") else rng.integers(1, 4)):
            self._window(thickness)
        light = rng.uniform(190, 240, 3)
        self._add("floor", quad((0, 0, 0), (width, 0, 0), (width, depth, 0), (0, depth, 0)))
        top = quad((0, 0, height), (width, 0, height), (width, depth, height), (0, depth, height))
        self._add("ceiling", top, light)
        for wall, openings in zip(self.walls, self.openings, strict=True):
            self._add("wall", wall_triangles(wall, height, openings, thickness), light)
        if rng.random() < 0.45:
            self._beams()
        if rng.random() < 0.4:
            self._column()
        if self.kind in ("office", "conferenceRoom") or rng.random() < 0.3:
            self._board()

    def _opening(self, width: float, low: float, high: float) -> tuple[Wall, Opening] | None:
        """Find room for an opening in some wall, and cut it."""
        for _ in range(TRIES):
            side = int(self.rng.integers(len(self.walls)))
            wall = self.walls[side]
            if wall.length < width + 0.4:
                continue
            u0 = self.rng.uniform(0.2, wall.length - width - 0.2)
            if all(u0 + width + 0.2 < o.u0 or u0 > o.u1 + 0.2 for o in self.openings[side]):
                opening = Opening(u0, u0 + width, low, high)
                self.openings[side].append(opening)
                return wall, opening
        return None

    def _door(self, thickness: float) -> None:
        rng, model = self.rng, self._pick("door", width=(0.6, 2.2), height=(1.8, 2.6))
        width = np.clip(model.size[0] if model else 0.9, 0.8, 1.9) * rng.uniform(0.95, 1.05)
        cut = self._opening(width, 0.0, rng.uniform(2.0, 2.15))
        if cut is None:
            return
        wall, o = cut
        middle = (o.u0 + o.u1) / 2
        if model is None or (width < 1.1 and rng.random() < 0.3):  # stands open, hinged on one side
            turn = rng.uniform(0.9, 1.7)
            direction = np.cos(turn) * wall.along + np.sin(turn) * wall.inward
            at = wall.point(o.u0 + 0.02) + direction * (width / 2)
            angle = float(np.arctan2(direction[1], direction[0]))
            self._add("door", box((width, 0.045, o.v1 - 0.01), (*at, 0.005), angle))
        else:
            at = np.array([*wall.point(middle, -min(0.6 * thickness, 0.08)), 0.0])
            self._add("door", place(model, (width, min(model.size[1], 0.12), o.v1), at, wall.angle))
            self.room.models.append(model)
        # The floor in front of a door stays free.
        self._take(wall.point(middle, 0.5), width + 0.2, 1.0, wall)

    def _window(self, thickness: float) -> None:
        model = self._pick("window", width=(0.2, 3.0), height=(0.5, 2.6))
        if model is None:
            return
        rng = self.rng
        low = rng.uniform(0.7, 1.0)
        cut = self._opening(rng.uniform(0.8, 2.2), low, low + rng.uniform(1.0, 1.4))
        if cut is None:
            return
        wall, o = cut
        at = np.array([*wall.point((o.u0 + o.u1) / 2, -0.5 * thickness), o.v0])
        self._add("window", place(model, (o.u1 - o.u0, min(model.size[1], 0.1), o.v1 - o.v0), at, wall.angle))
        self.room.models.append(model)

    def _beams(self) -> None:
        width, depth, height = self.room.size
        drop, thick = self.rng.uniform(0.15, 0.4), self.rng.uniform(0.15, 0.4)
        for x in np.linspace(0, width, self.rng.integers(3, 5))[1:-1]:
            self._add("beam", box((thick, depth, drop), (x, depth / 2, height - drop)))

    def _column(self) -> None:
        height = self.room.size[2]
        side = self.rng.uniform(0.25, 0.5)
        for _ in range(TRIES):
            number = int(self.rng.integers(4))
            wall = self.walls[number]
            u = self.rng.choice([side / 2, wall.length - side / 2, self.rng.uniform(side, wall.length - side)])
            if any(o.u0 - side / 2 < u < o.u1 + side / 2 for o in self.openings[number]):
                continue
            at = wall.point(float(u), side / 2)
            if self._free(*rectangle(at, side, side)):
                self._add("column", box((side, side, height), (*at, 0.0)))
                self.room.taken.append(rectangle(at, side, side))
                return

    def _board(self) -> None:
        size = (self.rng.uniform(1.2, 2.4), self.rng.uniform(0.9, 1.25))
        low = self.rng.uniform(0.8, 1.0)
        cut = self._opening(size[0], low, low)  # a hole of no height: keeps doors and windows apart from it
        if cut is not None:
            wall, o = cut
            for openings in self.openings:
                openings[:] = [other for other in openings if other is not o]
            at = wall.point((o.u0 + o.u1) / 2, 0.02)
            self._add("board", box((size[0], 0.03, size[1]), (*at, low), wall.angle), np.array([235.0, 238, 235]))

    # ------------------------------------------------------------------ what is chosen, added, taken

    def _pick(self, cls: str, **bounds: tuple[float, float]) -> Model | None:
        """A random model of a class whose sizes lie within bounds."""
        axis = {"width": 0, "depth": 1, "height": 2}
        fits = [
            m for m in self.by_class.get(cls, ())
            if all(low <= m.size[axis[name]] <= high for name, (low, high) in bounds.items())
            and (cls in ("window", "door") or m.elevation < 0.3)
        ]  # fmt: skip
        return fits[int(self.rng.integers(len(fits)))] if fits else None

    def _add(self, cls: str, triangles: np.ndarray, color: np.ndarray | None = None) -> None:
        tint = self.rng.uniform(40, 230, 3) if color is None else color
        self.room.things.append(Thing(cls, triangles, tint))

    def _take(self, at: np.ndarray, width: float, depth: float, wall: Wall) -> None:
        self.room.taken.append(rectangle(at, *along((width, depth), wall)))

    def _free(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        width, depth, _ = self.room.size
        if x0 < 0 or y0 < 0 or x1 > width or y1 > depth:
            return False
        return all(x1 <= a or c <= x0 or y1 <= b or d <= y0 for a, b, c, d in self.room.taken)

    def _within(self, at: np.ndarray, width: float, depth: float) -> bool:
        x0, y0, x1, y1 = rectangle(at, width, depth)
        return x0 >= 0 and y0 >= 0 and x1 <= self.room.size[0] and y1 <= self.room.size[1]


def rectangle(at: np.ndarray, width: float, depth: float) -> tuple[float, float, float, float]:
    return at[0] - width / 2, at[1] - depth / 2, at[0] + width / 2, at[1] + depth / 2


def along(size: Sequence[float], wall: Wall) -> tuple[float, float]:
    """Extent in x and y of something of this size that stands along a wall."""
    return (size[0], size[1]) if abs(wall.along[0]) > 0.5 else (size[1], size[0])

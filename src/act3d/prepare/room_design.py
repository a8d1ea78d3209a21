"""Rooms designed at random: a shell, and furniture in plausible places."""

from collections.abc import Sequence

import numpy as np

from act3d.prepare.furniture import SCENE_CLASS, Model, place
from act3d.prepare.room_build import KINDS, TRIES, Design, ShellDesigner, along, rectangle
from act3d.prepare.room_shell import Wall, box


class Designer(ShellDesigner):
    """Designs one room: see `ShellDesigner` for the arguments."""

    def design(self) -> Design:
        """Build the shell, then furnish."""
        self._shell()
        furnish = {
            "office": self._office, "conferenceRoom": self._conference, "lounge": self._lounge,
            "hallway": self._hallway, "storage": self._storage, "pantry": self._pantry,
        }  # fmt: skip
        furnish[self.kind]()
        self._hang_lamps()
        return self.room

    # ------------------------------------------------------------------ furniture by kind of room

    def _office(self) -> None:
        for _ in range(self.rng.integers(1, 4)):
            self._desk()
        for _ in range(self.rng.integers(1, 4)):
            self._against_wall("cabinet", height=(0.6, 2.3))
        self._greenery()

    def _conference(self) -> None:
        self._table_with_chairs((self.rng.uniform(1.8, 3.2), self.rng.uniform(0.9, 1.4)))
        if self.rng.random() < 0.6:
            self._against_wall("cabinet", height=(0.6, 2.0))
        self._greenery()

    def _lounge(self) -> None:
        for _ in range(self.rng.integers(1, 3)):
            sofa = self._against_wall("sofa", height=(0.5, 1.2))
            if sofa is not None and self.rng.random() < 0.8:
                at, wall, size = sofa
                self._stand("table", at + wall.inward * (size[1] / 2 + 0.75), wall.angle, height=(0.3, 0.62))
        for _ in range(self.rng.integers(1, 3)):
            self._anywhere("armchair", height=(0.6, 1.2))
        for _ in range(self.rng.integers(0, 3)):
            self._against_wall("cabinet", height=(0.8, 2.3))
        if self.rng.random() < 0.25:
            self._against_wall("bed", height=(0.3, 1.6))
        self._greenery()

    def _hallway(self) -> None:
        for _ in range(self.rng.integers(0, 3)):
            self._against_wall("cabinet", height=(0.6, 2.2), depth=(0.1, 0.5))
        for _ in range(self.rng.integers(0, 3)):
            self._against_wall("stool_bench", height=(0.35, 1.0), depth=(0.1, 0.6))

    def _storage(self) -> None:
        for _ in range(self.rng.integers(3, 7)):
            self._against_wall("cabinet", height=(0.7, 2.3))
        for _ in range(self.rng.integers(2, 6)):  # boxes on the floor
            size = self.rng.uniform(0.25, 0.6, 3).tolist()
            at = self._spot(size[0], size[1])
            if at is not None:
                self._add("clutter", box(size, (*at, 0.0), self.rng.uniform(0, 6.28)), np.array([150.0, 120, 80]))
        self._desk()

    def _pantry(self) -> None:
        for _ in range(self.rng.integers(2, 5)):
            self._against_wall("appliance", height=(0.6, 2.2), depth=(0.3, 0.9))
        self._table_with_chairs((self.rng.uniform(0.8, 1.6), self.rng.uniform(0.7, 1.0)))
        self._against_wall("cabinet", height=(0.7, 2.3))
        self._greenery()

    # ------------------------------------------------------------------ groups

    def _desk(self) -> None:
        desk = self._against_wall("table", height=(0.65, 1.1), width=(0.8, 2.2), depth=(0.4, 1.0))
        if desk is None:
            return
        at, wall, size = desk
        self._on_top(at, size, wall.angle, ("electronics", "lamp", "vessel"))
        # The chair faces the desk: its back is turned to the room.
        seat = at + wall.inward * (size[1] / 2 + self.rng.uniform(0.15, 0.5)) + wall.along * self.rng.uniform(-0.2, 0.2)
        self._stand("chair", seat, wall.angle + np.pi + self.rng.normal() * 0.3, height=(0.7, 1.3), overlap=True)

    def _table_with_chairs(self, size: tuple[float, float]) -> None:
        """A table near the middle, made this large if there is room, with chairs on its long sides."""
        model = self._pick("table", height=(0.65, 0.95))
        at = None
        for _ in range(TRIES):
            at = np.array(self.room.size[:2]) * self.rng.uniform(0.4, 0.6, 2)
            if self._free(*rectangle(at, size[0], size[1] + 1.2)):  # the chairs need room as well
                break
            at, size = None, (0.92 * size[0], 0.96 * size[1])
        if model is None or at is None:
            return
        whole = (size[0], size[1], model.size[2])
        self._put(model, whole, at, 0.0 if self.rng.random() < 0.5 else np.pi)
        self._on_top(at, whole, 0.0, ("vessel", "electronics", "plant"))
        chair = self._pick("chair", height=(0.7, 1.3), width=(0.3, 0.8), depth=(0.3, 0.8))
        if chair is None:
            return
        seats = max(1, int(size[0] / 0.75))
        for side in (-1, 1):
            for k in range(seats):
                x = (k + 0.5) / seats * size[0] - size[0] / 2 + self.rng.normal() * 0.05
                offset = np.array([x, side * (size[1] / 2 + self.rng.uniform(-0.05, 0.35))])
                # The front is -y: on the far side a chair stands as it is, on the near side it is turned round.
                angle = (0.0 if side > 0 else np.pi) + self.rng.normal() * 0.2
                if self.rng.random() < 0.85 and self._within(at + offset, 0.6, 0.6):
                    self._put(chair, chair.size, at + offset, angle)

    def _on_top(self, at: np.ndarray, size: Sequence[float], angle: float, kinds: Sequence[str]) -> None:
        """Small things on a table; they are clutter."""
        for _ in range(self.rng.integers(0, 4)):
            kind = str(self.rng.choice(list(kinds)))
            model = self._pick(kind, width=(0.03, 0.7), depth=(0.03, 0.6), height=(0.02, 0.8))
            if model is None:
                continue
            room = np.maximum(np.array(size[:2]) - np.array(model.size[:2]), 0) / 2
            x, y = self.rng.uniform(-1, 1, 2) * room
            c, s = np.cos(angle), np.sin(angle)
            spot = at + np.array([c * x - s * y, s * x + c * y])
            self._put(model, model.size, spot, angle + self.rng.normal() * 0.4, size[2], take=False)

    def _greenery(self) -> None:
        for kind in ("plant", "lamp"):
            if self.rng.random() < 0.6:
                self._anywhere(kind, height=(0.5, 2.2), width=(0.1, 0.9), depth=(0.1, 0.9))

    def _hang_lamps(self) -> None:
        hanging = [m for m in self.by_class.get("lamp", []) if m.elevation > 1.2 and m.size[2] < 0.9]
        width, depth, height = self.room.size
        for _ in range(self.rng.integers(0, 3) if hanging else 0):
            model = hanging[int(self.rng.integers(len(hanging)))]
            at = np.array([self.rng.uniform(0.8, width - 0.8), self.rng.uniform(0.8, max(0.81, depth - 0.8))])
            self._put(model, model.size, at, self.rng.uniform(0, 6.28), height - model.size[2], take=False)

    # ------------------------------------------------------------------ standing somewhere

    def _against_wall(
        self, cls: str, **bounds: tuple[float, float]
    ) -> tuple[np.ndarray, Wall, tuple[float, float, float]] | None:
        """Stand a model with its back to a wall; returns place, wall and size."""
        model = self._pick(cls, **bounds)
        if model is None:
            return None
        for _ in range(TRIES):
            wall = self.walls[int(self.rng.integers(4))]
            if wall.length < model.size[0] + 0.1:
                continue
            u = self.rng.uniform(model.size[0] / 2, wall.length - model.size[0] / 2)
            at = wall.point(u, model.size[1] / 2 + self.rng.uniform(0.01, 0.06))
            if self._free(*rectangle(at, *along(model.size, wall))):
                self._put(model, model.size, at, wall.angle)
                return at, wall, model.size
        return None

    def _anywhere(self, cls: str, **bounds: tuple[float, float]) -> None:
        model = self._pick(cls, **bounds)
        if model is not None:
            reach = max(model.size[0], model.size[1])
            at = self._spot(reach, reach)
            if at is not None:
                self._put(model, model.size, at, self.rng.uniform(0, 6.28))

    def _stand(
        self, cls: str, at: np.ndarray, angle: float, overlap: bool = False, **bounds: tuple[float, float]
    ) -> None:
        """Stand a model at a certain place, if it is free (or may overlap what stands there, like a chair a desk)."""
        model = self._pick(cls, **bounds)
        if model is None or not self._within(at, model.size[0], model.size[1]):
            return
        if overlap or self._free(*rectangle(at, model.size[0], model.size[1])):
            self._put(model, model.size, at, angle)

    def _spot(self, width: float, depth: float) -> np.ndarray | None:
        """A free place for something of this size."""
        for _ in range(TRIES):
            low = np.array([width, depth]) / 2 + 0.05
            high = np.array(self.room.size[:2]) - low
            if (high <= low).any():
                return None
            at = self.rng.uniform(low, high)
            if self._free(*rectangle(at, width, depth)):
                return at
        return None

    def _put(
        self, model: Model, size: Sequence[float], at: np.ndarray, angle: float, z: float = 0.0, take: bool = True
    ) -> None:
        whole = (float(size[0]), float(size[1]), float(size[2]))
        self._add(SCENE_CLASS[model.cls], place(model, whole, np.array([*at, z]), angle))
        self.room.models.append(model)
        if take:
            c, s = abs(np.cos(angle)), abs(np.sin(angle))
            self.room.taken.append(rectangle(at, c * size[0] + s * size[1], s * size[0] + c * size[1]))


__all__ = ["KINDS", "Design", "Designer"]

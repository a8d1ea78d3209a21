"""The shell of an empty room: floor, ceiling, walls with openings, beams, columns, boards."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Opening(NamedTuple):
    """A hole in a wall: from u0 to u1 along it and v0 to v1 above the floor, in metres."""

    u0: float
    u1: float
    v0: float
    v1: float


class Wall(NamedTuple):
    """A wall from `start` (2,) along the unit vector `along` (2,), `length` long; the room lies to its left."""

    start: np.ndarray
    along: np.ndarray
    length: float

    @property
    def inward(self) -> np.ndarray:
        """Unit vector (2,) into the room."""
        return np.array([-self.along[1], self.along[0]])

    @property
    def angle(self) -> float:
        """Turn that makes a thing whose back is at +y stand with its back to this wall."""
        back = -self.inward
        return float(np.arctan2(-back[0], back[1]))

    def point(self, u: float, depth: float = 0.0) -> np.ndarray:
        """The place (2,) at `u` along the wall, `depth` into the room (negative: behind the wall)."""
        return self.start + self.along * u + self.inward * depth


def walls_of(width: float, depth: float) -> list[Wall]:
    """The four walls of the rectangle [0, width] x [0, depth], counter-clockwise."""
    corners = np.array([[0, 0], [width, 0], [width, depth], [0, depth]], dtype=np.float64)
    ends = np.roll(corners, -1, axis=0)
    lengths = np.linalg.norm(ends - corners, axis=1)
    return [Wall(a, (b - a) / n, float(n)) for a, b, n in zip(corners, ends, lengths, strict=True)]


def quad(a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float]) -> np.ndarray:
    """Two triangles (2, 3, 3)."""
    return np.array([[a, b, c], [a, c, d]], dtype=np.float64)


def box(size: Sequence[float], at: Sequence[float], angle: float = 0.0) -> np.ndarray:
    """Triangles (12, 3, 3) of a box of this size, whose bottom's middle is `at`, turned about z."""
    x, y, z = size
    corner = np.array([[i, j, k] for i in (-x / 2, x / 2) for j in (-y / 2, y / 2) for k in (0, z)])
    c, s = np.cos(angle), np.sin(angle)
    corner = corner @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + np.asarray(at)
    sides = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    return np.concatenate([quad(*corner[list(side)]) for side in sides])


def wall_triangles(wall: Wall, height: float, openings: Sequence[Opening], thickness: float) -> np.ndarray:
    """Triangles (T, 3, 3) of a wall around its openings, with the reveals of these."""
    us = sorted({0.0, wall.length, *(x for o in openings for x in (o.u0, o.u1))})
    vs = sorted({0.0, height, *(x for o in openings for x in (o.v0, o.v1))})
    parts = []

    def corner(u: float, v: float, depth: float = 0.0) -> list[float]:
        return [*wall.point(u, depth), v]

    for u0, u1 in pairwise(us):
        for v0, v1 in pairwise(vs):
            u, v = (u0 + u1) / 2, (v0 + v1) / 2
            if not any(o.u0 < u < o.u1 and o.v0 < v < o.v1 for o in openings):
                parts.append(quad(corner(u0, v0), corner(u1, v0), corner(u1, v1), corner(u0, v1)))
    for o in openings:
        rim = [(o.u0, o.v0), (o.u1, o.v0), (o.u1, o.v1), (o.u0, o.v1)]
        for (ua, va), (ub, vb) in zip(rim, rim[1:] + rim[:1], strict=True):
            if va == vb == 0.0:
                continue  # no threshold under a door
            parts.append(quad(corner(ua, va), corner(ub, vb), corner(ub, vb, -thickness), corner(ua, va, -thickness)))
    return np.concatenate(parts)

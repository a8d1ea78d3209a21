"""A simulated laser scanner in a room of triangles: points on visible surfaces only, denser where they are near."""

from typing import NamedTuple

import numpy as np

SAMPLES = 6.0  # candidates for every ray and layer of surface; e^-6 of the rays miss a surface they should hit
NEAR = 0.2  # metres; nothing is seen closer to the scanner


class Scan(NamedTuple):
    """Points (n, 3), the triangle each lies on (n,), and the cosine of the angle at which the ray met it (n,)."""

    points: np.ndarray
    triangles: np.ndarray
    cosines: np.ndarray


def scan(triangles: np.ndarray, eye: np.ndarray, rays: int, rng: np.random.Generator) -> Scan:
    """Send `rays` in all directions, evenly over the sphere, and return where each first meets a triangle.

    A z-buffer over directions: candidate points are spread over every triangle in proportion to its solid angle; each
    direction keeps the nearest. Since directions are even, the density of points falls with the square of the
    distance, and with the angle of the surface, as a scanner's does. Distances get noise of 2 mm + 0.5 mm/m.

    Args:
        triangles: (T, 3, 3), seen from both sides.
        eye: (3,) where the scanner stands.
        rays: Directions; one that meets nothing gives no point.
        rng: Random numbers.
    """
    step = np.sqrt(4 * np.pi / rays)  # radians between neighbouring rays
    pieces, owner = subdivide(triangles - eye, np.arange(len(triangles)))
    normal, area = _normals(pieces)
    center = pieces.mean(axis=1)
    distance = np.maximum(np.linalg.norm(center, axis=1), NEAR)
    cosine = np.abs((normal * center).sum(axis=1)) / distance
    expected = SAMPLES * area * np.maximum(cosine, 0.05) / (distance * step) ** 2
    count = (expected + rng.random(len(expected))).astype(np.int64)
    piece = np.repeat(np.arange(len(pieces)), count)
    points = _strew(pieces[piece], rng)
    depth = np.linalg.norm(points, axis=1)
    ahead = np.abs((points * normal[piece]).sum(axis=1)) / np.maximum(depth, 1e-9)
    seen = _first(points, depth, step)
    # A ray may have no candidate on a surface that it hits; then the distances of neighbouring rays decide.
    blocker = np.full(_cell_count(2 * step), np.inf)
    coarse = _cells(points, depth, 2 * step)
    np.minimum.at(blocker, coarse, depth)
    slack = 0.04 + 4 * step * depth[seen] / np.maximum(ahead[seen], 0.05)
    seen = seen[depth[seen] <= blocker[coarse[seen]] + slack]
    # No points nearer than the scanner's foot, and few from surfaces seen at a grazing angle.
    seen = seen[(depth[seen] > NEAR) & (rng.random(len(seen)) < ahead[seen] / 0.08)]
    noise = rng.normal(size=len(seen)) * (0.002 + 0.0005 * depth[seen])
    points = points[seen] * (1 + noise / depth[seen])[:, None] + eye
    return Scan(points, owner[piece[seen]], ahead[seen])


def subdivide(triangles: np.ndarray, owner: np.ndarray, ratio: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Cut triangles (T, 3, 3) into four until none is longer than `ratio` times its distance from the origin.

    Pieces nearer than `NEAR` are not cut further on that account. Returns pieces and the owner of each.
    """
    done, owners = [], []
    while len(triangles):
        edges = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2).max(axis=1)
        # The nearest a piece can be: its center's distance, less its own reach.
        near = np.linalg.norm(triangles.mean(axis=1), axis=1) - edges * 0.6
        big = edges > ratio * np.maximum(near, NEAR)
        done.append(triangles[~big])
        owners.append(owner[~big])
        a, b, c = (triangles[big, i] for i in range(3))
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        quarters = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        triangles = np.concatenate([np.stack(corners, axis=1) for corners in quarters])
        owner = np.tile(owner[big], 4)
    return np.concatenate(done), np.concatenate(owners)


def _normals(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (T, 3) and areas (T,)."""
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return cross / np.maximum(length, 1e-30)[:, None], length / 2


def _strew(triangles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One random point (n, 3) in each triangle (n, 3, 3)."""
    u, v = rng.random((2, len(triangles), 1))
    beyond = u + v > 1  # fold the square onto the triangle
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    a = triangles[:, 0]
    return a + u * (triangles[:, 1] - a) + v * (triangles[:, 2] - a)


def _rows(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions in rows of equal elevation: how many cells each row has, and where it starts."""
    rows = max(1, int(np.ceil(np.pi / step)))
    middle = (np.arange(rows) + 0.5) / rows * np.pi
    widths = np.maximum(1, np.round(2 * np.pi * np.sin(middle) / step)).astype(np.int64)
    return widths, np.cumsum(widths) - widths


def _cell_count(step: float) -> int:
    widths, starts = _rows(step)
    return int(starts[-1] + widths[-1])


def _cells(points: np.ndarray, depth: np.ndarray, step: float) -> np.ndarray:
    """The cell (n,) of each direction; all cells take up about step^2."""
    widths, starts = _rows(step)
    polar = np.arccos(np.clip(points[:, 2] / np.maximum(depth, 1e-9), -1, 1)) / np.pi
    row = np.minimum((polar * len(widths)).astype(np.int64), len(widths) - 1)
    turn = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) + 0.5
    return starts[row] + np.minimum((turn * widths[row]).astype(np.int64), widths[row] - 1)


def _first(points: np.ndarray, depth: np.ndarray, step: float) -> np.ndarray:
    """Place of the nearest point of every cell that has one."""
    cell = _cells(points, depth, step)
    key = (cell.astype(np.uint64) << np.uint64(32)) | (np.minimum(depth, 4000) * 1e6).astype(np.uint64)
    order = np.argsort(key)
    sorted_cells = cell[order]
    return order[np.flatnonzero(np.diff(sorted_cells, prepend=-1))]

"""A shape as read from a file, its triangles, and points on its surface."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from act3d.errors import InputError


@dataclass
class Shape:
    """A mesh, or a cloud when `faces` is None.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64 triangles, or None.
        materials: (F,) int64 places in `material_names`, or None.
        material_names: Names of the materials as the file gives them ("" for one without a name).
        colors: (materials, 3) diffuse colours in 0..1; NaN for a material whose colour is not known (a texture).
        groups: (F,) int64 places in `group_names`, or None: an OBJ file's groups, a glTF scene's nodes, a CAD file's
            solids.
        group_names: Names of the groups as the file gives them.
        turned: (F,) bool, faces whose corners run clockwise seen from outside; None = no face.
        point_colors: (V, 3) red, green, blue in 0..1 of every vertex or point, or None.
        point_normals: (V, 3) unit normals of the points of a cloud, or None.
        point_parts: (V,) int64, a part number of every vertex or point, or None.
        missing: Pieces that the file names and that could not be found (LDraw).
        up: The up axis that the file declares ("y" for glTF, "z" for 3MF); "" where its format does not declare one.
        turned_from: The axis that an entry of the file says, where the reader has turned the shape to y (Collada).
        note: What the reader took for granted, "" for nothing.
    """

    vertices: np.ndarray
    faces: np.ndarray | None = None
    materials: np.ndarray | None = None
    material_names: list[str] = field(default_factory=list)
    colors: np.ndarray | None = None
    groups: np.ndarray | None = None
    group_names: list[str] = field(default_factory=list)
    turned: np.ndarray | None = None
    point_colors: np.ndarray | None = None
    point_normals: np.ndarray | None = None
    point_parts: np.ndarray | None = None
    missing: int = 0
    up: str = ""
    turned_from: str = ""
    note: str = ""


def check_vertices(shape: Shape) -> None:
    """Refuse a shape that no points can be taken from, with the reason."""
    if shape.faces is None:
        if len(shape.vertices) == 0:
            raise InputError("holds no points")
        if not np.isfinite(shape.vertices).all():
            raise InputError("has coordinates that are not finite")
        if len(shape.vertices) == 1:
            raise InputError("holds a single point")
        if not np.ptp(shape.vertices, axis=0).any():
            raise InputError("all its points coincide")
        return
    if len(shape.faces) == 0:
        raise InputError("holds no faces")
    if shape.faces.min() < 0 or shape.faces.max() >= len(shape.vertices):
        raise InputError(f"a face names a vertex outside 0..{len(shape.vertices) - 1}")
    if not np.isfinite(shape.vertices[shape.faces]).all():
        raise InputError("has coordinates that are not finite")


def triangulate(vertices: np.ndarray, corners: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut polygons into triangles.

    Convex polygons become fans; a concave one would get a wrong area that way, so its ears are clipped.

    Args:
        vertices: (V, 3).
        corners: (sum of sizes,) vertex numbers of all polygons, one after the other.
        sizes: (polygons,) number of corners of each; polygons of fewer than three give nothing.

    Returns:
        Triangles (T, 3) int64 and, for each, the polygon it came from (T,) int64, in polygon order.
    """
    corners = np.asarray(corners, dtype=np.int64)
    sizes = np.asarray(sizes, dtype=np.int64)
    if len(corners) and (corners.min() < 0 or corners.max() >= len(vertices)):
        raise InputError(f"a face names a vertex outside 0..{len(vertices) - 1}")
    starts = np.cumsum(sizes) - sizes
    triangles: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for size in np.unique(sizes[sizes >= 3]):
        which = np.flatnonzero(sizes == size)
        polygons = corners[starts[which][:, None] + np.arange(size)]
        if size > 3:
            convex, normals = _convex(vertices[polygons])
            # The axis along which a polygon is thinnest to look at; the flattened one is cut the same way.
            thin = np.abs(normals[~convex]).argmax(axis=1)
            for polygon, owner, axis in zip(polygons[~convex], which[~convex], thin.tolist(), strict=True):
                clipped = _clip_ears(vertices, polygon, axis)
                triangles.append(clipped)
                owners.append(np.full(len(clipped), owner))
            polygons, which = polygons[convex], which[convex]
        second = np.arange(1, size - 1)
        fan = np.stack([np.zeros_like(second), second, second + 1], axis=1)
        triangles.append(polygons[:, fan].reshape(-1, 3))
        owners.append(np.repeat(which, size - 2))
    if not triangles:
        return np.empty((0, 3), dtype=np.int64), np.empty(0, dtype=np.int64)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(triangles)[order], owner[order]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`np.cross` of vectors (..., 3), without its preparations, which take longer than a few products."""
    product = np.empty_like(a)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        product[..., axis] = a[..., first] * b[..., second] - a[..., second] * b[..., first]
    return product


def _normals(polygons: np.ndarray) -> np.ndarray:
    """Newell's normals (K, 3), of any length, of polygons (K, n, 3)."""
    rest = polygons - polygons[:, :1]
    return _cross(rest, np.roll(rest, -1, axis=1)).sum(axis=1)


def _convex(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) bool: polygons (K, n, 3) that turn the same way at every corner; and the normals (K, 3) of all."""
    edges = np.roll(polygons, -1, axis=1) - polygons
    turns, normals = _cross(edges, np.roll(edges, -1, axis=1)), _normals(polygons)
    turn = np.einsum("knd,kd->kn", turns, normals)
    return (turn >= -1e-9 * np.abs(turn).max(axis=1, keepdims=True)).all(axis=1), normals


def _clip_ears(vertices: np.ndarray, polygon: np.ndarray, thin: int) -> np.ndarray:
    """Triangles (T, 3) of one polygon, flattened along the axis `thin`."""
    import mapbox_earcut

    flat = np.ascontiguousarray(vertices[polygon][:, [axis for axis in range(3) if axis != thin]])
    cut = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], dtype=np.uint32))
    return polygon[cut.astype(np.int64).reshape(-1, 3)]


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) areas."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


class Samples(NamedTuple):
    """Points of a shape, and where each lies.

    Attributes:
        points: (count, 3).
        faces: (count,) the face of each; None for a cloud.
        area: Of the whole surface; 0 for a cloud.
        corners: (count, 3) the vertices of each point's face, or (count, 1) its place in the cloud.
        weights: As `corners`: how much of each vertex there is in the point; they add up to 1.
    """

    points: np.ndarray
    faces: np.ndarray | None
    area: float
    corners: np.ndarray
    weights: np.ndarray


def sample_surface(shape: Shape, count: int, rng: np.random.Generator) -> Samples:
    """`count` points spread evenly over the surface by area, or drawn from a cloud.

    A cloud of fewer points gives each of them once before any of them again.

    Raises:
        InputError: the shape has no points, no area, or coordinates that are not finite.
    """
    check_vertices(shape)
    if shape.faces is None:
        rounds = [rng.permutation(len(shape.vertices)) for _ in range(-(-count // len(shape.vertices)))]
        chosen = np.concatenate(rounds)[:count]
        return Samples(shape.vertices[chosen], None, 0.0, chosen[:, None], np.ones((count, 1)))
    bounds = face_areas(shape.vertices, shape.faces).cumsum()
    if not bounds[-1] > 0:
        raise InputError("its faces have no area")
    chosen = np.searchsorted(bounds, rng.random(count) * bounds[-1], side="right").clip(max=len(bounds) - 1)
    u, v = rng.random((2, count, 1))
    # Fold the unit square onto the triangle.
    beyond = u + v > 1
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    corners = shape.faces[chosen]
    a, b, c = (shape.vertices[corners[:, i]] for i in range(3))
    points = a + u * (b - a) + v * (c - a)
    return Samples(points, chosen, float(bounds[-1]), corners, np.concatenate([1 - u - v, u, v], axis=1))

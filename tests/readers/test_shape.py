"""Triangulation and sampling of surfaces."""

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.readers.shape import Shape, face_areas, sample_surface, triangulate
from tests.data.helpers import CUBE_QUADS, CUBE_TRIANGLES, CUBE_VERTICES, L_SHAPE


def area_of(vertices: np.ndarray, polygons: list[list[int]]) -> float:
    corners = np.array([corner for polygon in polygons for corner in polygon])
    triangles, _ = triangulate(vertices, corners, np.array([len(polygon) for polygon in polygons]))
    return float(face_areas(vertices, triangles).sum())


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize("turn", [np.eye(3), np.eye(3)[[1, 2, 0]], np.eye(3)[[2, 0, 1]]])
def test_concave_polygon_keeps_its_area(start: int, turn: np.ndarray) -> None:
    polygon = np.roll(np.arange(6), start)
    assert area_of(L_SHAPE @ turn, [polygon.tolist()]) == pytest.approx(3)
    assert area_of(L_SHAPE @ turn, [polygon[::-1].tolist()]) == pytest.approx(3)


def test_concave_quad_keeps_its_area() -> None:
    dart = np.array([[0, 0, 0], [2, -1, 0], [0.5, 0, 0], [2, 1, 0]], dtype=float)
    # As a fan from its second corner it would cover 2; the dart itself covers 0.5.
    for start in range(4):
        assert area_of(dart, [np.roll(np.arange(4), start).tolist()]) == pytest.approx(0.5)


def test_mixed_polygons_keep_order_and_owner() -> None:
    vertices = np.concatenate([L_SHAPE, L_SHAPE + 5])
    corners = np.array([0, 1, 2, 6, 7, 8, 9, 10, 11, 3, 4, 5, 0, 1])
    triangles, owner = triangulate(vertices, corners, np.array([3, 6, 3, 2]))
    assert owner.tolist() == [0, 1, 1, 1, 1, 2]
    assert triangles[0].tolist() == [0, 1, 2]
    assert set(triangles[1:5].ravel()) == set(range(6, 12))


def test_polygon_with_a_wrong_corner_is_refused() -> None:
    with pytest.raises(InputError, match=r"outside 0\.\.5"):
        triangulate(L_SHAPE, np.array([0, 1, 6]), np.array([3]))


def test_samples_lie_on_the_surface_in_proportion_to_area() -> None:
    # A box of 1 x 1 x 10: each long side has ten times the area of an end.
    vertices = CUBE_VERTICES * [1, 1, 10]
    shape = Shape(vertices, triangulate(vertices, CUBE_QUADS.ravel(), np.full(6, 4))[0])
    points, faces, area = sample_surface(shape, 42_000, np.random.default_rng(0))[:3]
    assert area == pytest.approx(42)
    assert faces is not None
    on_side = [np.isclose(points[:, axis], bound) for axis in range(3) for bound in (0, vertices[:, axis].max())]
    assert np.any(on_side, axis=0).all()
    # Expected 10 000 a side and 1 000 an end; five standard deviations.
    counts = np.array([side.sum() for side in on_side])
    assert np.abs(counts[:4] - 10_000).max() < 450
    assert np.abs(counts[4:] - 1_000).max() < 160
    assert (np.ptp(points, axis=0) > vertices.max(axis=0) * 0.99).all()


def test_a_cloud_gives_every_point_before_it_repeats_one() -> None:
    cloud = Shape(np.random.default_rng(0).normal(size=(10, 3)))
    points, faces, area = sample_surface(cloud, 25, np.random.default_rng(1))[:3]
    assert faces is None
    assert area == 0
    times = [(points == point).all(axis=1).sum() for point in cloud.vertices]
    assert set(times) == {2, 3}


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Shape(np.empty((0, 3))), "no points"),
        (Shape(np.zeros((1, 3))), "single point"),
        (Shape(np.ones((5, 3))), "coincide"),
        (Shape(np.full((5, 3), np.nan)), "not finite"),
        (Shape(CUBE_VERTICES, np.empty((0, 3), dtype=np.int64)), "no faces"),
        (Shape(CUBE_VERTICES * [1, 0, 0], CUBE_TRIANGLES), "no area"),
        (Shape(np.where(CUBE_VERTICES == 1, np.inf, 0), CUBE_TRIANGLES), "not finite"),
        (Shape(CUBE_VERTICES, CUBE_TRIANGLES + 1), "outside"),
    ],
)
def test_degenerate_shapes_say_why(shape: Shape, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        sample_surface(shape, 8, np.random.default_rng(0))

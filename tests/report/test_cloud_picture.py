import io

import numpy as np
import pytest
from matplotlib.image import imread

from act3d.errors import InputError
from act3d.report import depth_colors, render_cloud, view_bounds


def picture(points, **options):
    return imread(io.BytesIO(render_cloud(points, size=100, **options)))


def test_one_point_is_one_ball_on_a_transparent_ground():
    image = picture([[0.0, 0.0, 0.0]], bounds=(np.zeros(3), 1.0), radius=0.2)
    assert image.shape == (100, 100, 4)
    assert image[50, 50, 3] == 1
    assert image[0, 0, 3] == 0
    # A disc of radius 10 pixels.
    assert image[..., 3].sum() == pytest.approx(np.pi * 100, rel=0.1)


def test_up_is_up_and_the_near_point_covers_the_far_one():
    front = {"azimuth": 0, "elevation": 0, "bounds": (np.zeros(3), 1.0), "radius": 0.1}
    high = picture([[0.0, 0.8, 0.0]], **front)
    assert high[10, 50, 3] == 1
    assert high[90, 50, 3] == 0
    red_near = picture([[0, 0, 0.5], [0, 0, -0.5]], colors=[[1, 0, 0], [0, 0, 1]], **front)
    red_near_too = picture([[0, 0, -0.5], [0, 0, 0.5]], colors=[[0, 0, 1], [1, 0, 0]], **front)
    assert red_near[50, 50, 0] > 0.5
    assert red_near[50, 50, 2] == 0
    assert (red_near == red_near_too).all()


def test_points_outside_the_view_are_left_out():
    assert picture([[9.0, 0, 0]], bounds=(np.zeros(3), 1.0))[..., 3].max() == 0


def test_bounds_hold_the_cloud_from_every_side():
    points = np.random.default_rng(0).normal(size=(50, 3)) + 5
    center, half = view_bounds(points[:20], points[20:])
    assert np.linalg.norm(points - center, axis=1).max() < half
    for azimuth in (0, 77, 200):
        image = picture(points, azimuth=azimuth, radius=0.01)
        assert image[0].max() == image[-1].max() == image[:, 0].max() == image[:, -1].max() == 0


def test_depth_colors_are_colors_and_rise_in_lightness():
    colors = depth_colors(np.linspace(0, 1, 9))
    assert colors.min() >= 0
    assert colors.max() <= 1
    assert (np.diff(colors @ [0.2126, 0.7152, 0.0722]) > 0).all()


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((4, 2)), np.full((4, 3), np.nan)])
def test_points_that_make_no_picture_are_refused(points):
    with pytest.raises(InputError, match="finite points"):
        render_cloud(points)


def test_colors_must_fit():
    with pytest.raises(InputError, match="shape"):
        render_cloud(np.zeros((4, 3)), colors=np.zeros((3, 3)))

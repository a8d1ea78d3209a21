import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from act3d.errors import InputError
from act3d.report.viewer import BY_HEIGHT, Coloring, by_label, by_value, encode, one_color, point_radius, view


def decoded(data):
    kind, unit = ("<i2", 32767) if "w" in data else ("i1", 127)
    return np.frombuffer(base64.b64decode(data["p"]), dtype=kind).reshape(-1, 3) / unit


@pytest.mark.parametrize(("count", "error"), [(500, 1 / 254), (13_000, 1 / 65534)])
def test_points_come_back_within_half_a_step(count, error):
    cloud = np.random.default_rng(0).uniform(-3, 5, (count, 3))
    bounds = (np.ones(3), 8.0)
    np.testing.assert_allclose(8 * decoded(encode(cloud, bounds)) + 1, cloud, atol=8 * error * 1.001)
    # By itself a cloud fills its view.
    assert 0.9 < np.linalg.norm(decoded(encode(cloud)), axis=1).max() <= 1


def test_points_outside_the_bounds_are_put_on_their_edge():
    assert decoded(encode([[9.0, 0, 0], [0, -9, 0]], (np.zeros(3), 1.0))).tolist() == [[1, 0, 0], [0, -1, 0]]


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((4, 2)), np.full((4, 3), np.inf)])
def test_what_is_no_cloud_is_refused(points):
    with pytest.raises(InputError, match="finite points"):
        encode(points)


def test_labels_take_their_colours_and_none_is_grey():
    palette = np.array([[255, 0, 0], [0, 0, 255]], dtype=np.uint8)
    colored = by_label([1, -1, 0], palette)
    assert (255 * colored.rgb(np.zeros((3, 3)))).round().tolist() == [[0, 0, 255], [136, 136, 136], [255, 0, 0]]
    for labels in ([2], [-2]):
        with pytest.raises(InputError, match="labels must lie in -1 to 1"):
            by_label(labels, palette)


def test_values_and_heights_run_along_the_ramp():
    first, last = BY_HEIGHT.palette[0], BY_HEIGHT.palette[-1]
    shown = by_value([-7, 2.0, 4.0, 99], 2, 4).rgb(np.zeros((4, 3)))
    assert (255 * shown[[0, 1]]).round().tolist() == [first.tolist()] * 2
    assert (255 * shown[[2, 3]]).round().tolist() == [last.tolist()] * 2
    heights = BY_HEIGHT.rgb([[0, 5.0, 0], [0, 3, 0], [0, 4, 0]])
    assert (255 * heights[[1, 0]]).round().tolist() == [first.tolist(), last.tolist()]
    assert (one_color([1, 2, 3]).rgb(np.eye(3)) * 255).round().tolist() == [[1, 2, 3]] * 3


def test_a_view_holds_points_a_still_picture_and_what_it_shows():
    cloud = np.random.default_rng(0).normal(size=(40, 3))
    html = view(cloud, "a <b>", by_label(np.arange(40) % 2, [[1, 2, 3], [4, 5, 6]]))
    assert html.count('"a &lt;b&gt;"') == 2
    assert 'data-k="010203040506888888"' in html
    values = np.frombuffer(base64.b64decode(re.search('data-v="([^"]*)"', html).group(1)), dtype=np.uint8)
    assert values.tolist() == [0, 1] * 20
    picture = imread(io.BytesIO(base64.b64decode(re.search('base64,([^"]*)', html).group(1))))
    assert picture[..., 3].max() == 1
    assert "data-k" not in view(cloud, "x")  # the viewer knows the common ramp
    assert 'data-m="1"' in view(cloud, "x", by_value(np.arange(40), 0, 40))
    assert isinstance(BY_HEIGHT, Coloring)


def test_more_points_are_smaller():
    radii = [point_radius(count) for count in (10, 1024, 10_000, 1_000_000)]
    assert radii == sorted(radii, reverse=True)
    assert radii[1] == 0.028


def test_nine_shapes_take_less_than_forty_kilobytes_besides_their_still_pictures():
    rng = np.random.default_rng(0)
    pages = [view(rng.normal(size=(1024, 3)), f"shape {i}") for i in range(9)]
    assert sum(len(re.sub('src="[^"]*"', "", page)) for page in pages) < 40_000

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.report import bar_rows, line_chart, mean_spread, scatter_map
from act3d.report.charts import middles
from act3d.report.class_colors import MARKED, class_marks
from act3d.report.lettering import fitted, place_names, shortened


def lines(chart):
    return [
        np.array([[float(v) for v in pair.split(",")] for pair in points.split()])
        for points in re.findall(r'polyline class="[^"]*" points="([^"]*)"', chart)
    ]


def test_charts_are_well_formed_and_escape_names():
    chart = line_chart({"<a> & b": ([0, 1], [1, 2])}, "step", "loss <x>")
    ET.fromstring(chart)
    assert "&lt;a&gt; &amp; b" in chart
    ET.fromstring(scatter_map([[0, 0], [1, 2]], [0, -1], ["a<b"], ["x&y", "z"]))
    ET.fromstring(bar_rows({"a<b": [1.0, 2.0]}))


def test_a_rising_line_rises_and_stays_inside():
    (line,) = lines(line_chart({"a": (np.arange(50), np.arange(50) ** 2)}, "x", "y", size=(400, 200)))
    assert (np.diff(line[:, 0]) > 0).all()
    assert (np.diff(line[:, 1]) <= 0).all()
    assert line[:, 0].min() >= 0
    assert line[:, 0].max() <= 400
    assert line[:, 1].min() >= 0
    assert line[:, 1].max() <= 200


def test_log_axis_makes_powers_evenly_spaced_and_drops_what_has_no_logarithm():
    (line,) = lines(line_chart({"a": ([0, 1, 2, 3], [1, 10, 100, -5])}, "x", "y", log_y=True))
    assert len(line) == 3
    assert np.diff(line[:, 1]) == pytest.approx(np.diff(line[:, 1])[0])


def test_values_that_are_not_finite_are_left_out():
    (line,) = lines(line_chart({"a": ([0, 1, 2], [1, np.nan, 3]), "b": ([0], [np.inf])}, "x", "y"))
    assert len(line) == 2


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [1e-9, 2e-9], [-3e7, 4e7]])
def test_any_range_has_ticks(values):
    chart = line_chart({"a": ([0, 1], values)}, "x", "y")
    assert chart.count('class="tick end"') >= 2


def test_a_chart_without_values_is_refused():
    with pytest.raises(InputError, match="no finite values"):
        line_chart({"a": ([1], [np.nan])}, "x", "y")
    with pytest.raises(InputError, match="one length"):
        line_chart({"a": ([1, 2], [1])}, "x", "y")
    with pytest.raises(InputError, match="at least one row"):
        bar_rows({})
    with pytest.raises(InputError, match="positions"):
        scatter_map(np.zeros((3, 2)), [0, 1], ["a", "b"])


def test_every_shape_is_on_the_map_with_its_name_and_every_class_once():
    shown = scatter_map(np.eye(3, 2), [0, 1, 1], ["cup", "plate"], ["s0", "s1", "s2"], [True, False, True])
    assert shown.count('class="spot"') == 3
    assert [shown.count(f">{name}</") for name in ("cup", "plate")] == [2, 2]  # on the map and in its legend
    assert "s1 · plate" in shown


def test_class_names_do_not_cover_each_other():
    shown = scatter_map(np.zeros((4, 2)), [0, 1, 2, 3], ["aa", "bb", "cc", "dd"])
    heights = sorted(float(y) for y in re.findall(r'class="name" x="[^"]*" y="([^"]*)"', shown))
    assert min(np.diff(heights)) >= 12


def test_names_stay_in_the_picture():
    placed = place_names([("a long name", 5, 99), ("a long name", 5, 99), ("b", 5, 99)], 100, 100, 4, 10)
    assert placed[0] == ("a long name", 26, 95)
    ys = sorted(y for _, _, y in placed)
    assert min(np.diff(ys)) >= 10
    assert ys[0] >= 5


def test_mean_and_sample_spread():
    assert mean_spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert mean_spread([1.26]) == "1.3"


def test_a_class_is_named_at_one_of_its_points_not_between_its_groups():
    xy = np.array([[0, 0], [0, 1], [1, 0], [100, 100], [100, 101.0]])
    assert middles(xy, np.array([0, 0, 0, 0, 0]))[0].tolist() in xy.tolist()
    assert middles(xy, np.array([0, 1, -1, 0, 1])).keys() == {0, 1}


def test_all_classes_of_a_map_look_different_and_of_too_many_the_small_ones_are_grey():
    counts = [1 + (i % 7) for i in range(MARKED)]
    labels = np.repeat(np.arange(MARKED), counts)
    marks = class_marks(labels, [f"c{i}" for i in range(MARKED)])
    assert len({(mark.color, mark.marker) for mark in marks.values()}) == MARKED
    many = np.repeat(np.arange(MARKED + 5), [*counts, 9, 9, 9, 9, 9])
    marks = class_marks(np.append(many, -1), [f"c{i}" for i in range(MARKED + 5)])
    grey = [label for label, mark in marks.items() if mark.name == "5 smaller classes"]
    assert [counts[label] for label in grey] == [1] * 5
    assert len(set(marks.values())) == MARKED + 2
    assert list(marks)[-1] == -1
    few, nine = (class_marks(np.array(shown), [f"c{i}" for i in range(9)]) for shown in ([3, 5], range(9)))
    assert few == {label: nine[label] for label in (3, 5)}


def test_letters_shrink_before_they_are_cut():
    assert fitted(10, 2, 7) == (7, 29)
    size, fits = fitted(15, 1, 7)  # "block 1, head 1", in seven columns of a page
    assert 6.5 < size < 7
    assert fits >= 15
    size, fits = fitted(100, 1, 7)
    assert size == 4.5
    assert len(shortened("x" * 100, fits)) == fits < 100

from pathlib import Path

import numpy as np
import pytest

from act3d.commands.check_data import check_data
from act3d.data import open_dataset
from act3d.errors import InputError
from act3d.samples import sample_root
from act3d.use.dataset_page import ODD, odd_ones, page_of_shapes, place_of_page, shape_features, write_shapes


def test_extents_and_spread_of_a_box():
    corners = np.array([[[x, y, z] for x in (0, 1.0) for y in (0, 2.0) for z in (0, 4.0)]])
    (features,) = shape_features(corners)
    assert features[:3].tolist() == [1, 2, 4]
    assert features[3] == pytest.approx(np.sqrt(1 + 4 + 16) / 2)
    assert features[4] == pytest.approx(0)


def test_a_shape_unlike_its_class_is_odd_and_named_by_how():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(1, 0.05, (40, 6)), rng.normal(9, 0.05, (40, 6))])
    labels = np.repeat([0, 1], 40)
    assert odd_ones(features, labels) == []
    features[7, 1], features[50, 5] = 5, 4
    found = odd_ones(features, labels)
    assert [place for place, _ in found] == [7, 50]
    assert found[1][1] == "original size: smaller than usual"
    assert found[0][1] == "height: larger than usual"
    features[:, 0] = np.where(np.arange(80) % 5 == 0, 99, features[:, 0])
    assert len(odd_ones(features, labels)) == ODD


def test_equal_shapes_and_tiny_classes_have_no_odd_ones():
    assert odd_ones(np.ones((9, 6)), np.zeros(9, dtype=np.int64)) == []
    assert odd_ones(np.diag([1.0, 50, 3]), np.array([0, 1, 2])) == []


def test_the_page_counts_what_the_dataset_holds(tmp_path):
    clouds = open_dataset("sample")
    page = page_of_shapes(clouds)
    assert sum(sum(row.counts.values()) for row in page.classes) == len(clouds) == 640
    assert page.splits == ["train", "test"]
    assert {row.name for row in page.classes} == set(clouds.classes) == set(page.examples)
    assert all(0 < max(row.extents) <= 2 for row in page.classes)
    html = write_shapes(tmp_path / "p.html", "sample").read_text(encoding="utf-8")
    assert html.count(' data-p="') == sum(map(len, page.examples.values())) + len(page.odd)
    assert "CC-BY-SA" in html


def test_check_data_writes_it_beside_the_folder_or_where_it_is_told(dataset, tmp_path, capsys):
    check_data(str(dataset))
    assert f"what it looks like: {place_of_page(dataset)}" in capsys.readouterr().out
    assert place_of_page(dataset).name == "shapes.shapes.html"
    place_of_page(dataset).unlink()
    check_data(str(dataset), page=str(tmp_path / "mine.html"))
    check_data(str(dataset), page="none")
    assert (tmp_path / "mine.html").stat().st_size > 10_000
    assert not place_of_page(dataset).exists()
    with pytest.raises(InputError, match="cannot be written beside"):
        place_of_page("/")


def test_a_page_is_named_as_its_folder_was_typed(tmp_path, monkeypatch):
    (tmp_path / "mine/inner").mkdir(parents=True)
    assert place_of_page("data/mine") == Path("data/mine.shapes.html")
    monkeypatch.chdir(tmp_path / "mine/inner")
    assert place_of_page("..") == tmp_path / "mine.shapes.html"
    assert place_of_page(".") == tmp_path / "mine/inner.shapes.html"


def test_nothing_is_written_beside_the_sample_also_where_it_is_named_by_its_path(tmp_path, capsys):
    before = sorted(sample_root().parent.iterdir())
    (tmp_path / "link").symlink_to(sample_root())
    for name in ("sample", str(sample_root()), f"{sample_root()}/", str(tmp_path / "link")):
        check_data(name)
        assert "what it looks like" not in capsys.readouterr().out
    assert sorted(sample_root().parent.iterdir()) == before
    check_data(str(sample_root()), page=str(tmp_path / "mine.html"))
    assert (tmp_path / "mine.html").exists()


def test_a_place_that_cannot_be_written_is_said_and_does_not_fail_the_check(dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    check_data(str(dataset), page=str(tmp_path / "file" / "p.html"))
    assert "no page of prepared dataset" in capsys.readouterr().err

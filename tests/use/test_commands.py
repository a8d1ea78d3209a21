"""embed, index, search, predict, convert, inspect, doctor: from the command line, on small meshes."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d.cli import main
from act3d.data.description import checksum
from act3d.files import one_writer
from act3d.models.segmenter import Segmenter
from act3d.use.embeddings import read_embeddings
from tests.fixtures.interruption import embed_two_parts_and_die
from tests.fixtures.small_models import write_box


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_embed_a_folder(suffix: str, meshes: Path, student_file: Path, tmp_path: Path, capsys: Any) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"e.{suffix}"
    assert main(["embed", str(meshes), "--checkpoint", str(student_file), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "6 shapes, 128 numbers each; 6 new, 1 not readable" in said.out
    assert "plate/bad.obj" in said.err
    table = read_embeddings(out)
    assert table["name"] == [f"{c}/{c}{i}.obj" for c in ("plate", "rod") for i in range(3)]
    assert table["label"] == ["plate"] * 3 + ["rod"] * 3
    one = act3d.load(student_file).embed(meshes / "rod" / "rod1.obj")
    assert np.allclose(table.vectors[4], one[0].numpy(), atol=1e-5)
    assert len({v.tobytes() for v in table.vectors}) == 6


@pytest.mark.parametrize("command", ["embed", "index"])
def test_two_commands_never_write_one_result(
    command: str, meshes: Path, student_file: Path, tmp_path: Path, capsys: Any
) -> None:
    if command == "index":
        pytest.importorskip("lancedb")
    out = tmp_path / "result.npz"
    words = [command, str(meshes), "--checkpoint", str(student_file), "--out", str(out)]
    with one_writer(out):
        assert main(words) == 2
    assert f"another act3d command writes {out}" in capsys.readouterr().err
    assert main(words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meshes", "result.npz"]


def test_embed_goes_on_where_it_stopped(
    meshes: Path, student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = ["embed", str(meshes), "--checkpoint", str(student_file), "--data.batch_size", "2"]
    words += ["--out", str(tmp_path / "e.npz")]
    embed_two_parts_and_die(monkeypatch, words)
    assert not (tmp_path / "e.npz").exists()
    assert main(words) == 0
    assert "6 shapes, 128 numbers each; 3 new" in capsys.readouterr().out  # bad.obj sat in the first batch
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.npz", "meshes"]
    assert main(words) == 0
    assert "; 0 new" in capsys.readouterr().out
    write_box(meshes / "rod" / "rod0.obj", 1, 2, 3)
    assert main(words) == 0
    assert "; 1 new" in capsys.readouterr().out


def test_embed_takes_files_patterns_and_datasets(meshes: Path, student_file: Path, tmp_path: Path) -> None:
    for source, count in ((meshes / "rod" / "rod0.obj", 1), (f"{meshes}/**/rod*.obj", 3), ("sample", None)):
        out = tmp_path / "x.npz"
        out.unlink(missing_ok=True)
        assert main(["embed", str(source), "--checkpoint", str(student_file), "--out", str(out)]) == 0
        table = read_embeddings(out)
        if count:
            assert len(table) == count
        else:
            assert len(table) > 100
            assert set(table["split"]) >= {"train", "test"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["embed", "nowhere", "--out", "e.npz"], "nowhere"),
        (["embed", ".", "--out", "e.txt"], ".txt"),
        (["embed", ".", "--out", "e.csv"], "allowed: .npz, .parquet"),
        (["embed", ".", "--out", "e.npz", "--data.batch_size", "0"], "data.batch_size"),
        (["search", "x.obj", "--index", "nowhere"], "no option --checkpoint"),
    ],
)
def test_mistakes_end_in_one_line(
    words: list[str], says: str, student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    extra = [] if words[0] == "search" else ["--checkpoint", str(student_file)]
    assert main([*words, *extra]) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words[0] == "search" or says in said


def test_index_and_search(meshes: Path, student_file: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("lancedb")
    index = tmp_path / "index"
    words = ["index", str(meshes), "--checkpoint", str(student_file), "--out", str(index)]
    assert main(words) == 0
    assert "mAP" in capsys.readouterr().out
    query = meshes / "rod" / "rod1.obj"
    answer, page = tmp_path / "a.json", tmp_path / "p.html"
    assert (
        main(["search", str(query), "--index", str(index), "-k", "3", "--json", str(answer), "--page", str(page)]) == 0
    )
    assert "rod/rod1.obj" in capsys.readouterr().out
    hits = json.loads(answer.read_text())["answers"]["rod1.obj"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert hits[0]["name"] == "rod/rod1.obj"
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert page.read_text().count("data:image/png") == 4
    # a new file, a lost one
    write_box(meshes / "rod" / "rod9.obj", 1, 1, 30)
    (meshes / "plate" / "plate0.obj").unlink()
    assert main(words) == 0
    assert "6 shapes; 1 new, 1 gone, 1 not readable" in capsys.readouterr().out
    assert main(["search", str(query), "--index", str(index), "--json", "-"]) == 0
    names = [hit["name"] for hit in json.loads(capsys.readouterr().out)["answers"]["rod1.obj"]]
    assert "rod/rod9.obj" in names
    assert "plate/plate0.obj" not in names


def test_predict_classes(meshes: Path, classifier_file: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "p.csv"
    assert main(["predict", str(meshes), "--checkpoint", str(classifier_file), "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 6
    for row in rows:
        shares = {c: float(row[c]) for c in ("box", "rod", "plate")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert max(shares, key=lambda c: shares[c]) == row["class"]
    model = act3d.load(classifier_file)
    ranked = model.predict(meshes / "rod" / "rod0.obj")
    assert ranked[0][0] == rows[3]["class"]
    assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
    batch = model.predict([meshes / "rod" / "rod0.obj", meshes / "plate" / "plate0.obj"])
    assert [c for c, _ in batch] == [rows[3]["class"], rows[0]["class"]]


def test_predict_parts(meshes: Path, tmp_path: Path, capsys: Any) -> None:
    from act3d.readers.by_suffix import read_shape

    torch.manual_seed(0)
    model = Segmenter(4, categories=2, patches=16, patch_size=8, width=64, depth=3, heads=1)
    meta = {"points": 64, "classes": ["rod", "plate"], "parts": list("abcd"), "class_parts": {"rod": [2, 3]}}
    weights = act3d.save(model, tmp_path / "s.safetensors", meta)
    out = tmp_path / "rod.ply"
    words = ["predict", str(meshes / "rod" / "rod0.obj"), "--checkpoint", str(weights)]
    assert main([*words, "--out", str(out), "--category", "rod"]) == 0
    assert len(read_shape(out).vertices) == 64
    said = capsys.readouterr().out
    assert "a " not in said.replace(str(out), "")
    assert "b " not in said.replace(str(out), "")
    assert main([*words, "--out", str(out), "--category", "lamp"]) == 2
    assert "lamp" in capsys.readouterr().err


def test_convert_and_inspect(tmp_path: Path, capsys: Any) -> None:
    from tests.checkpoints.test_released_files import POINTS, around, encoder_state, write

    state, _ = encoder_state("MAE_encoder.", tokens=False)
    released = write({**state, **around(), "stray": torch.zeros(1)}, tmp_path / "r.pth")
    native = tmp_path / "n.safetensors"
    assert main(["convert", str(released), "--out", str(native), "--licence", "MIT"]) == 0
    assert "stray" in capsys.readouterr().out
    assert torch.equal(act3d.load(native).embed(POINTS), act3d.load(released).embed(POINTS))
    finer = tmp_path / "finer.safetensors"
    assert main(["convert", str(native), "--patches", "32", "--points", "128", "--out", str(finer)]) == 0
    same = act3d.load(native).model
    same.patches = 32
    assert act3d.load(finer).model.patches == 32
    assert torch.equal(act3d.load(finer).embed(POINTS), same.embed(same.patchify(POINTS)))
    assert not torch.equal(act3d.load(finer).embed(POINTS), act3d.load(native).embed(POINTS))
    assert main(["convert", str(finer), "--patches", "200", "--out", str(tmp_path / "no.safetensors")]) == 2
    assert "patches: 200 are more than the 128 points a cloud" in capsys.readouterr().err
    assert main(["inspect", str(released), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "point_mae"
    assert report["format"] == "released"
    assert report["left_over"] == ["stray"]
    assert report["parameters"] == sum(p.numel() for p in act3d.load(released).model.parameters())
    # 65 tokens... at least the MLPs: 2 blocks x 64 tokens x 2 layers x 128 x 512 x 2
    assert report["flops"] > 2 * 64 * 2 * 128 * 512 * 2
    assert main(["inspect", str(native)]) == 0
    assert "native" in capsys.readouterr().out


def test_doctor(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from act3d.commands import doctor

    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["torch"] in (torch.__version__, torch.__version__.partition("+")[0])
    assert all(passed for _, passed in report["check"].values())
    monkeypatch.setattr(doctor, "EMBEDDING", [x + 0.1 for x in doctor.EMBEDDING])
    assert main(["doctor"]) == 1
    assert "self-check" in capsys.readouterr().err


def test_names_of_files_that_are_no_utf8(
    meshes: Path, student_file: Path, classifier_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb")
    pytest.importorskip("pyarrow")
    (meshes / "rod" / "rod0.obj").rename(meshes / "rod" / os.fsdecode(b"caf\xe9\n.obj"))
    index, model = str(tmp_path / "index"), ["--checkpoint", str(student_file)]
    query = [str(meshes / "rod"), "--index", index]
    for words in (
        ["embed", str(meshes), *model, "--out", str(tmp_path / "e.parquet")],
        ["index", str(meshes), *model, "--out", index],
        ["search", *query, "--page", str(tmp_path / "page.html"), "--json", str(tmp_path / "answer.json")],
        ["predict", str(meshes), "--checkpoint", str(classifier_file), "--out", str(tmp_path / "p.csv")],
    ):
        assert main(words) == 0, words
    answers = json.loads((tmp_path / "answer.json").read_text())["answers"]
    assert all(hits[0]["name"] == f"rod/{name}" for name, hits in answers.items())
    assert r"rod/caf\xe9\n.obj" in read_embeddings(tmp_path / "e.parquet")["name"]


def test_names_that_look_alike_stay_apart(
    meshes: Path, student_file: Path, classifier_file: Path, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("lancedb")
    (meshes / "rod" / "rod0.obj").rename(meshes / "rod" / "a\n.obj")
    (meshes / "rod" / "rod1.obj").rename(meshes / "rod" / r"a\n.obj")
    os.utime(meshes / "rod" / "a\n.obj", (1, 1))
    os.utime(meshes / "rod" / r"a\n.obj", (1, 1))
    (meshes / "plate" / "bad.obj").unlink()
    count, wanted = 6, {r"rod/a\n.obj", r"rod/a\n.obj~2"}
    model, classifier = ["--checkpoint", str(student_file)], ["--checkpoint", str(classifier_file)]
    assert main(["predict", str(meshes), *classifier, "--out", str(tmp_path / "p.json")]) == 0
    classes = json.loads((tmp_path / "p.json").read_text())
    assert len(classes) == count
    assert wanted <= classes.keys()
    for path, other in (("a\n.obj", r"rod/a\n.obj"), (r"a\n.obj", r"rod/a\n.obj~2")):
        assert main(["predict", str(meshes / "rod" / path), *classifier, "--out", str(tmp_path / "one.json")]) == 0
        (alone,) = json.loads((tmp_path / "one.json").read_text()).values()
        assert dict(row.values() for row in alone) == pytest.approx(dict(row.values() for row in classes[other]))
    assert main(["embed", str(meshes), *model, "--out", str(tmp_path / "e.npz")]) == 0
    assert main(["embed", str(meshes), *model, "--out", str(tmp_path / "e.npz")]) == 0
    assert "0 new" in capsys.readouterr().out
    table = read_embeddings(tmp_path / "e.npz")
    assert len(set(table["name"])) == count
    assert main(["index", str(meshes), *model, "--out", str(tmp_path / "index")]) == 0
    assert f"{count} shapes" in capsys.readouterr().out
    asked = ["search", str(meshes / "rod"), "--index", str(tmp_path / "index"), "--json", str(tmp_path / "a.json")]
    assert main(asked) == 0
    answers = json.loads((tmp_path / "a.json").read_text())["answers"]
    assert len(answers) == len(list((meshes / "rod").iterdir()))


def test_folders_that_look_alike_are_two_classes(tmp_path: Path) -> None:
    for folder in ("a\n", r"a\n"):
        for i in range(3):
            write_box(tmp_path / "in" / folder / f"{i}.obj", 1, 1 + i, len(folder))
    made = act3d.prepare(tmp_path / "in", tmp_path / "out", points=64, workers=1)
    assert {cls: sum(splits.values()) for cls, splits in made.counts.items()} == {r"a\n": 3, r"a\n~2": 3}


@pytest.mark.parametrize("words", ["embed {data}", "index {data}", "probe --data.root {data}", "predict {data}"])
def test_a_flipped_byte_of_a_shard_ends_in_one_line(
    dataset: Path, student_file: Path, classifier_file: Path, tmp_path: Path, words: str, capsys: Any
) -> None:
    data = shutil.copytree(dataset, tmp_path / "data")
    (shard,) = data.glob("points-*.npy")
    info = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(info | {"checksums": {shard.name: checksum(shard)}}))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    model = classifier_file if words.startswith("predict") else student_file
    out = tmp_path / ("out.npz" if words.startswith("embed") else "out.csv" if words.startswith("predict") else "out")
    assert main([*words.format(data=data).split(), "--checkpoint", str(model), "--out", str(out)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    said = "was changed after it was written (its checksum differs); prepare the dataset again"
    assert errors == [f"act3d: error: {shard} {said}"]
    assert not out.exists()

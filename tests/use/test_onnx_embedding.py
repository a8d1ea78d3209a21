"""embed, index and search by onnxruntime: near PyTorch, never mixed with it, made anew for other weights."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d.cli import main
from act3d.commands.search import search
from act3d.errors import CheckpointError, ConfigError
from act3d.models.classifier import Classifier
from act3d.use import onnx_embedding
from act3d.use.embeddings import read_embeddings
from act3d.use.onnx_embedding import OnnxEncoderPredictor, load_encoder
from tests.fixtures.interruption import embed_two_parts_and_die
from tests.helpers import randomize

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def weights(student_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student in a folder of its own, which the exported files are written to once."""
    return Path(shutil.copy(student_file, tmp_path_factory.mktemp("onnx") / "student.safetensors"))


def _clouds(count: int) -> torch.Tensor:
    """Boxes of different sides (count, 64, 3)."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 64, 3, generator=generator) * torch.rand(count, 1, 3, generator=generator)


def _centred_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(0), b - a.mean(0)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(("backend", "least"), [("onnx", 1 - 1e-6), ("onnx-int8", 0.99)])
def test_embeddings_are_near_those_of_pytorch(backend: str, least: float, weights: Path) -> None:
    points = _clouds(40)
    wanted = act3d.load(weights).embed(points).numpy()
    predictor = load_encoder(weights, "auto", backend)
    assert isinstance(predictor, OnnxEncoderPredictor)
    found = np.concatenate([predictor.embed(part).numpy() for part in points.split(16)])
    cosines = _centred_cosine(wanted, found)
    assert cosines.min() > least
    assert (found != wanted).any()  # computed by another library
    chosen = [*range(16), 16, 32]
    loss = predictor.loss()
    assert loss["clouds"] == len(chosen)
    ours = _centred_cosine(wanted[chosen], found[chosen])
    assert loss["mean centred cosine"] == pytest.approx(ours.mean(), abs=1e-5)
    assert loss["least centred cosine"] == pytest.approx(ours.min(), abs=1e-5)
    assert loss["least cosine"] <= loss["mean cosine"] <= 1 + 1e-9


def test_a_classifier_embeds_as_its_own_embed_does(tmp_path: Path) -> None:
    model = randomize(Classifier(3, 16, 8, 64, 2, 1)).float().eval()  # its embedding is no output of act3d export
    path = act3d.save(model, tmp_path / "c.safetensors", {"points": 64})
    wanted = act3d.load(path).embed(_clouds(3)).numpy()
    assert np.allclose(load_encoder(path, "cpu", "onnx").embed(_clouds(3)).numpy(), wanted, atol=1e-4)


def test_points_with_colours_are_embedded_too(tmp_path: Path) -> None:
    model = randomize(Classifier(3, 16, 8, 64, 2, 1, channels=["rgb"])).float().eval()
    path = act3d.save(model, tmp_path / "c.safetensors", {"points": 64})
    points = torch.cat([_clouds(3), _clouds(6)[3:]], dim=2)
    wanted = act3d.load(path).embed(points).numpy()
    assert np.allclose(load_encoder(path, "cpu", "onnx").embed(points).numpy(), wanted, atol=1e-4)


def test_the_file_is_made_once_and_anew_for_other_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = Path(shutil.copy(weights, tmp_path / "s.safetensors"))
    made: list[str] = []
    real = onnx_embedding._write
    monkeypatch.setattr(onnx_embedding, "_write", lambda *a: (made.append(a[2]), real(*a))[1])
    load_encoder(path, "cpu", "onnx")
    load_encoder(path, "cpu", "onnx")
    assert made == ["onnx"]
    predictor = act3d.load(path)
    randomize(predictor.model)
    act3d.save(predictor, path)
    wanted = act3d.load(path).embed(_clouds(2)).numpy()
    assert np.allclose(load_encoder(path, "cpu", "onnx").embed(_clouds(2)).numpy(), wanted, atol=1e-4)
    assert len(made) == 2
    (tmp_path / ".s.onnx.onnx").write_bytes(b"damaged")
    capsys.readouterr()
    load_encoder(path, "cpu", "onnx")
    assert len(made) == 3
    assert "it is made anew" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == [".s.onnx.onnx", "s.safetensors"]


def test_a_wrong_export_is_not_kept(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.copy(weights, tmp_path / "s.safetensors"))
    monkeypatch.setattr(onnx_embedding, "difference", lambda *a: 0.5)
    with pytest.raises(CheckpointError, match=r"differs from PyTorch's by 0\.5"):
        load_encoder(path, "cpu", "onnx-int8")
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_embed_never_mixes_two_backends(meshes: Path, weights: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "e.npz"
    words = ["embed", str(meshes), "--checkpoint", str(weights), "--out", str(out)]
    assert main([*words, "--backend", "onnx-int8"]) == 0
    assert "onnx-int8 against float32 PyTorch, 6 of the shapes: mean cosine" in capsys.readouterr().out
    assert read_embeddings(out).meta["backend"] == "onnx-int8"
    before = out.read_bytes()
    assert main(words) == 2
    assert f"{out} holds embeddings by onnx-int8, not torch" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*words, "--backend", "onnx-int8"]) == 0
    said = capsys.readouterr().out
    assert "; 0 new" in said
    assert "against float32" not in said  # nothing was embedded: nothing was measured


def test_rows_of_an_interrupted_run_by_another_backend_are_not_taken(
    meshes: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = ["embed", str(meshes), "--checkpoint", str(weights), "--data.batch_size", "2"]
    words += ["--out", str(tmp_path / "e.npz")]
    embed_two_parts_and_die(monkeypatch, words)
    assert list((tmp_path / ".e.npz.parts").iterdir())
    assert main([*words, "--backend", "onnx-int8"]) == 0
    assert "6 shapes, 128 numbers each; 6 new" in capsys.readouterr().out


def test_an_index_is_searched_by_its_own_backend(
    meshes: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("lancedb")
    words = ["index", str(meshes), "--checkpoint", str(weights), "--out", str(tmp_path / "i")]
    assert main([*words, "--backend", "onnx-int8"]) == 0
    assert "onnx-int8 against float32 PyTorch, 6 of the shapes" in capsys.readouterr().out
    assert main(words) == 2
    assert "holds embeddings by onnx-int8, not torch" in capsys.readouterr().err
    embedded: list[str] = []
    real = OnnxEncoderPredictor.embed

    def noted(predictor: Any, points: Any) -> torch.Tensor:
        embedded.append(predictor.backend)
        return real(predictor, points)

    monkeypatch.setattr(OnnxEncoderPredictor, "embed", noted)
    report = search(str(meshes / "rod" / "rod1.obj"), str(tmp_path / "i"), k=1)
    assert embedded == ["onnx-int8"]
    assert [hit.name for hit in next(iter(report.hits.values()))] == ["rod/rod1.obj"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_in_one_line(
    package: str, meshes: Path, student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = Path(shutil.copy(student_file, tmp_path / "s.safetensors"))
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a))
    words = ["embed", str(meshes), "--checkpoint", str(path), "--out", str(tmp_path / "e.npz")]
    assert main([*words, "--backend", "onnx-int8"]) != 0
    said = capsys.readouterr().err
    assert f"ONNX needs {package}: pip install" in said
    assert "Traceback" not in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["meshes", "s.safetensors"]


def test_onnxruntime_is_refused_another_device(student_file: Path) -> None:
    with pytest.raises(ConfigError, match="allowed: auto, cpu"):
        load_encoder(student_file, "cuda:0", "onnx")

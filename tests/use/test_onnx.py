"""ONNX files give what PyTorch gives, sampling and grouping included."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d.channels import width_of
from act3d.errors import CheckpointError
from act3d.geometry import patchify
from act3d.models.aligned import Aligned
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.recon import ReCon
from act3d.models.segmenter import Segmenter
from act3d.models.student import Student
from tests.helpers import randomize

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from act3d.use import onnx as onnx_module


def test_patches_are_those_of_the_geometry() -> None:
    points = torch.rand(3, 90, 5, generator=torch.Generator().manual_seed(0))
    plain, beside = points[..., :3].contiguous(), points[..., 3:]
    for cloud, other in ((plain, None), (points, beside)):
        wanted = patchify(plain, 9, 7, beside=other)
        for found, expected in zip(onnx_module.traceable_patches(cloud, 9, 7), wanted, strict=True):
            assert torch.equal(found, expected)


def test_ties_go_to_the_lower_index_there_too(tmp_path: Path) -> None:
    class Cut(torch.nn.Module):
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            patches = onnx_module.traceable_patches(points, 9, 7)
            return patches.neighborhoods + patches.centers.unsqueeze(2)

    # coordinates on a small grid: many equal distances, many equal points; halves are exact in float32
    points = torch.randint(0, 4, (3, 90, 3), generator=torch.Generator().manual_seed(0)) / 2
    graph = torch.export.export(Cut(), (points,), strict=False)
    program = torch.onnx.export(graph, dynamo=True, input_names=["points"], verbose=False)
    assert program is not None
    program.save(str(tmp_path / "cut.onnx"))
    wanted = patchify(points, 9, 7)
    found = onnx_module.onnx_session(tmp_path / "cut.onnx")(points.numpy())[0]
    assert np.array_equal(found, (wanted.neighborhoods + wanted.centers.unsqueeze(2)).numpy())


def remembering(model: Aligned) -> Aligned:
    """The same, remembering shapes of three names."""
    model.remember_texts(torch.nn.functional.normalize(torch.randn(3, 384), dim=1))
    model.remember_examples(torch.randn(9, 128), torch.arange(9) % 3)
    return model


MODELS: dict[str, Any] = {
    "student": lambda: Student(6, 8, 64, 1, 1, decoder_depth=1, decoder_heads=1),
    "classifier": lambda: Classifier(3, 6, 8, 64, 1, 1),
    "autoencoder": lambda: Autoencoder(6, 8, 16, 24, {"width": 64, "depth": 2, "heads": 1}, prompts=2),
    "recon": lambda: ReCon(6, 8, 64, 1, 1, decoder_depth=1, decoder_heads=1),
    "segmenter": lambda: Segmenter(4, categories=2, patches=6, patch_size=8, width=64, depth=3, heads=1),
    "segmenter of colours": lambda: Segmenter(
        4, patches=6, patch_size=8, width=64, depth=3, heads=1, channels=["normal", "rgb"]
    ),
    "aligned": lambda: Aligned(6, 8, 64, 1, 1, hidden=16),
    "aligned, remembering": lambda: remembering(Aligned(6, 8, 64, 1, 1, hidden=16)),
    "recon with names": lambda: ReCon(6, 8, 64, 1, 1, decoder_depth=1, decoder_heads=1, names=True),
}


@pytest.mark.parametrize(
    "kind",
    [
        "student",
        "classifier",
        "aligned",
        "aligned, remembering",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("autoencoder", "recon", "segmenter")),
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("segmenter of colours", "recon with names")),
    ],
)
def test_export_is_the_same_function(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = randomize(MODELS[kind]()).float().eval()
    width = 3 + width_of(getattr(model, "channels", ()))
    points = torch.rand(3, 40, width)
    made = onnx_module.export_onnx(model, tmp_path / "m.onnx", points, tolerance=1e-4)
    assert max(made.differences.values()) < 1e-4
    run = onnx_module.onnx_session(made.path)
    assert len(run(np.random.rand(5, 61, width).astype(np.float32))[0]) == 5  # noqa: NPY002
    assert "patchify" not in vars(model)  # nothing of the export stays on it
    if "text_vector" in made.outputs:
        wanted = model.among_texts(model.patchify(points)).detach().numpy()
        assert np.allclose(run(points.numpy())[2], wanted, atol=1e-5)
    assert ("text_vector" in made.outputs) == (kind in ("aligned", "aligned, remembering", "recon with names"))
    if kind == "student":
        wanted = model.embed(model.patchify(points)).detach().numpy()
        assert np.allclose(run(points.numpy())[0], wanted, atol=1e-4)
        small = onnx_module.quantize(made.path, tmp_path / "m.int8.onnx")
        off = np.abs(onnx_module.onnx_session(small)(points.numpy())[0] - wanted).max()
        assert 0 < off < 0.5


def test_a_wrong_export_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_module, "compare", lambda *a: {"embedding": 0.5})
    with pytest.raises(CheckpointError, match="differs"):
        onnx_module.export_onnx(MODELS["student"]().eval(), tmp_path / "m.onnx", torch.rand(2, 40, 3))
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(student_file: Path, tmp_path: Path, capsys: Any) -> None:
    from act3d.cli import main

    words = ["export", str(student_file), "--out", str(tmp_path / "s.onnx"), "--int8", "--limit", "32"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "largest difference to PyTorch" in said
    assert "mAP int8" in said
    assert (tmp_path / "s.int8.onnx").is_file()
    assert act3d.load(student_file).kind == "student"


def test_torch_does_not_complain_of_what_is_not_needed(student_file: Path, tmp_path: Path) -> None:
    words = ["export", str(student_file), "--out", str(tmp_path / "s.onnx"), "--limit", "4"]
    done = subprocess.run([sys.executable, "-m", "act3d", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torchvision" not in done.stdout + done.stderr

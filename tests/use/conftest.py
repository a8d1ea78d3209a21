"""Small models and a folder of small meshes, made once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import act3d
from act3d.models.classifier import Classifier
from act3d.models.student import Student
from tests.helpers import randomize


@pytest.fixture(scope="session")
def student() -> nn.Module:
    """A student of two blocks that takes 16 patches of 8 points."""
    torch.manual_seed(0)
    model = Student(16, 8, 64, 2, 1, decoder_depth=1, decoder_heads=1, teacher_width=48)
    return randomize(model).float().eval()


@pytest.fixture(scope="session")
def student_file(student: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    meta = {"points": 64, "normalization": "unit_sphere", "source_up": "y", "protocol": "standard", "licence": "MIT"}
    return act3d.save(student, path, meta | {"data": {"name": "boxes", "fingerprint": "f00"}})


@pytest.fixture(scope="session")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = randomize(Classifier(3, 16, 8, 64, 2, 1)).float().eval()
    path = tmp_path_factory.mktemp("weights") / "classifier.safetensors"
    return act3d.save(model, path, {"points": 64, "classes": ["box", "rod", "plate"], "normalization": "unit_sphere"})


def write_box(path: Path, x: float, y: float, z: float) -> None:
    """An OBJ file of a box, six quadrangles."""
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)]) * [x, y, z]
    faces = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
    lines = [f"v {a} {b} {c}" for a, b, c in corners] + [f"f {' '.join(map(str, f))}" for f in faces]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Two classes of three boxes, and one file that cannot be read."""
    folder = tmp_path / "meshes"
    for i in range(3):
        write_box(folder / "rod" / f"rod{i}.obj", 1, 1, 5 + i)
        write_box(folder / "plate" / f"plate{i}.obj", 5, 5 + i, 0.5)
    (folder / "plate" / "bad.obj").write_text("v 1 2\nf 1 2 3\n")
    return folder

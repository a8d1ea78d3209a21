"""Every preset of `finetune` and `fewshot` runs: an optimizer step or two, and a look at the test set."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d import checkpoints
from act3d.cli import main
from act3d.models.recon import ReCon
from act3d.models.student import Student
from act3d.presets import preset_names
from tests.fixtures import released_layouts as layouts
from tests.fixtures.packed import write_dataset

# Preset -> where its data lies, the dataset's name, points, patches, augmentation.
ROWS = {
    "act/finetune-scan-hardest": ("ScanObjectNN", "scanobjectnn-hardest", 2048, 128, "rotate_y"),
    "act/finetune-scan-objbg": ("ScanObjectNN", "scanobjectnn-objbg", 2048, 128, "rotate_y"),
    "act/finetune-scan-objonly": ("ScanObjectNN", "scanobjectnn-objonly", 2048, 128, "rotate_y"),
    "act/finetune-modelnet": ("ModelNet", "modelnet40", 1024, 64, "scale_shift"),
    "act/finetune-modelnet-8k": ("ModelNet", "modelnet40", 8192, 512, "scale_shift"),
    "small/finetune": ("shapes", "shapes", 1024, 32, "scale_shift"),
}
TRANSFERS = ("mlp3", "linear", "side", "bitfit", "lora", "adapter")
ON_TOP = {name: name for name in TRANSFERS} | {"scratch": "full"}
OVERLAYS = {f"{size}/finetune-{name}": transfer for size in ("act", "small") for name, transfer in ON_TOP.items()}
FEW = {"act/fewshot": "full", "act/fewshot-mlp3": "mlp3", "act/fewshot-linear": "linear", "small/fewshot": "full"}
FAST = ["--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    layouts.scanobjectnn(root, per_class=1, only=["hardest", "objbg", "objonly"])
    layouts.modelnet40_cache(root, train=1, test=1)
    layouts.fewshot(root, folds=1, points=1024, test=1)
    write_dataset(root / "shapes", per_class=4, points=1024)
    return root


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoders as wide as the presets' own, and less deep: a classifier takes the size of what it starts from."""
    folder = tmp_path_factory.mktemp("students")
    torch.manual_seed(0)
    made = {"act": Student(depth=2, decoder_depth=1), "small": Student(32, 32, 192, 2, 3, 1, 3)}
    return {name: checkpoints.save(model, folder / f"{name}.safetensors") for name, model in made.items()}


def run(out: Path, *words: str) -> dict[str, Any]:
    assert main([*words, "--out", str(out), *FAST]) == 0
    return json.loads((out / "results.json").read_text())


def test_no_preset_is_left_out() -> None:
    assert set(preset_names("finetune")) == {*ROWS, *OVERLAYS, "recon/finetune"}
    assert set(preset_names("fewshot")) == set(FEW)


@pytest.mark.parametrize("preset", ROWS)
def test_finetune_presets_run(preset: str, data: Path, students: dict[str, Path], tmp_path: Path) -> None:
    folder, name, points, patches, augment = ROWS[preset]
    start = ["--checkpoint", str(students[preset.split("/")[0]])]
    words = ["finetune", "--config", preset, "--data.root", str(data / folder), "--data.batch_size", "2"]
    found = run(tmp_path / "run", *words, *start)
    assert (found["data"]["name"], found["points"], found["augment"]) == (name, points, augment)
    assert (found["transfer"], found["start"]["kind"]) == ("full", "student")
    assert 0 <= found["metrics"]["oa"] <= 100
    assert checkpoints.load(tmp_path / "run").model.patches == patches


@pytest.mark.parametrize("preset", OVERLAYS)
def test_overlays_run(preset: str, data: Path, students: dict[str, Path], tmp_path: Path) -> None:
    size, scratch = preset.split("/")[0], preset.endswith("scratch")
    row = "act/finetune-modelnet" if size == "act" else "small/finetune"
    words = ["finetune", "--config", row, "--config", preset, "--data.root", str(data / ROWS[row][0])]
    start = ["--classifier.depth", "2"] if scratch else ["--checkpoint", str(students[size])]
    found = run(tmp_path / "run", *words, "--data.batch_size", "2", *start)
    assert (found["transfer"], found["start"]["kind"]) == (OVERLAYS[preset], "scratch" if scratch else "student")


def test_recon_is_fine_tuned_with_its_tokens(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = checkpoints.save(ReCon(depth=2, decoder_depth=1), tmp_path / "recon.safetensors")
    words = [
        "finetune",
        "--config",
        "act/finetune-scan-hardest",
        "--config",
        "recon/finetune",
        "--data.batch_size",
        "2",
    ]
    found = run(tmp_path / "run", *words, "--data.root", str(data / "ScanObjectNN"), "--checkpoint", str(source))
    assert (found["start"]["kind"], found["points"], found["augment"]) == ("recon", 2048, "rotate_y")
    config = checkpoints.load(tmp_path / "run").model.config
    assert (config["global_tokens"], config["drop_path"], config["patches"]) == (True, 0.2, 128)


@pytest.mark.parametrize("preset", FEW)
def test_fewshot_presets_run(preset: str, data: Path, students: dict[str, Path], tmp_path: Path) -> None:
    size = preset.split("/")[0]
    configs = dict.fromkeys([f"{size}/fewshot", preset])  # mlp3 and linear lie on top of the first
    words = ["fewshot", *(word for config in configs for word in ("--config", config))]
    words += ["--data.root", str(data / "ModelNetFewshot"), "--checkpoint", str(students[size])]
    one_fold = ["--tasks.ways", "5", "--tasks.shots", "10", "--tasks.folds", "1"]
    found = run(tmp_path / "run", *words, *one_fold)
    assert (found["transfer"], found["augment"], found["points"]) == (FEW[preset], "scale_shift", 1024)
    assert list(found["metrics"]["settings"]["5w10s"]["folds"]) == ["0"]

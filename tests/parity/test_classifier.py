"""The classifiers of the release, through a file in its form and `act3d.load`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d import load
from act3d.checkpoints.released import _CLASSIFIER_NAMES, rename
from act3d.models.classifier import Classifier
from act3d.use.shape_predictors import ClassifierPredictor
from tests.parity import cases

TRANSFERS = ("full", "linear")


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_logits(transfer: str, released_file: Callable[[str], Path]) -> None:
    name = f"classifier_{transfer}"
    model = load(released_file(name), expect=ClassifierPredictor)
    config = model.model.config
    assert isinstance(model.model, Classifier)
    assert (config["classes"], config["patches"], config["transfer"]) == (15, 128, transfer)
    assert model.left_over == []
    numbers = cases.numbers(name)
    cases.assert_parity(model(numbers["points"]), numbers["logits"], "logits")


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_the_same_parameters_train(transfer: str, released_file: Callable[[str], Path]) -> None:
    name = f"classifier_{transfer}"
    case = json.loads((cases.HERE / f"{name}.json").read_text())
    expected = set(rename(dict.fromkeys(case["trainable"], torch.zeros(1)), _CLASSIFIER_NAMES))
    model = load(released_file(name)).model
    assert {n for n, p in model.named_parameters() if p.requires_grad} == expected


def write(path: Path, weights: dict[str, Any]) -> Path:
    torch.save({"base_model": {f"module.{k}": v for k, v in weights.items()}, "epoch": 300}, path)
    return path


def test_side_tuning_is_recognised(tmp_path: Path) -> None:
    """A file with a side network: its names are the release's (side, side_projection, side_alpha)."""
    torch.manual_seed(1)
    model = Classifier(5, width=64, depth=2, heads=1, transfer="side").eval()
    back = [(new, old) for old, new in _CLASSIFIER_NAMES]
    found = load(write(tmp_path / "side.pth", rename(model.state_dict(), tuple(back))))
    assert found.model.config["transfer"] == "side"
    points = torch.rand(2, 128, 3)
    assert torch.equal(found(points), model(model.patchify(points)))


def test_reduce_dim_is_read(tmp_path: Path) -> None:
    """Point-BERT's patches are 256 wide and go through a linear layer."""
    model = Classifier(5, width=64, depth=1, heads=1, embed_width=32).eval()
    back = [(new, old) for old, new in _CLASSIFIER_NAMES]
    state = rename(model.state_dict(), tuple(back))
    assert "reduce_dim.weight" in state
    found = load(write(tmp_path / "reduced.pth", {**state, "lm_head.weight": torch.zeros(3, 64)}))
    points = torch.rand(2, 128, 3)
    assert torch.equal(found(points), model(model.patchify(points)))
    assert found.left_over == ["lm_head.weight"]

"""Short runs are validated and tested with batch statistics of the training clouds; long ones with running averages."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from act3d import checkpoints
from act3d.commands.finetune import finetune
from act3d.engine.batch_statistics import estimate_statistics, trained_norms, unsettled
from act3d.models.classifier import Classifier
from act3d.settings.tasks import ClassifierConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from tests.fixtures.packed import write_dataset

SMALL = ClassifierConfig(patches=8, patch_size=8, width=16, depth=2, heads=2)
OPTIM = OptimConfig(lr=5e-3, warmup_epochs=0)


def test_statistics_are_those_of_all_batches_with_dropout_off() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    rows = torch.randn(4, 10, 3) * 5 + 2
    estimate_statistics(model, [lambda batch=batch: model(batch) for batch in rows])
    norm, given = model[2], model[0](rows)
    assert isinstance(norm, nn.BatchNorm1d)
    assert torch.allclose(norm.running_mean, given.mean((0, 1)), atol=1e-5)
    assert torch.allclose(norm.running_var, given.var(dim=1).mean(0), rtol=1e-4)
    assert (norm.momentum, int(norm.num_batches_tracked)) == (0.1, 0)
    assert all(module.training for module in model)


def test_the_rule_counts_steps_and_momentum() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    assert unsettled(model, 131)
    assert not unsettled(model, 132)
    model[0].momentum = 0.5
    assert unsettled(model, 19)
    assert not unsettled(model, 20)
    assert not unsettled(nn.Linear(2, 2), 1)


def test_frozen_norms_are_left_alone() -> None:
    full, frozen = (Classifier(3, 8, 8, 16, 2, 2, transfer=transfer) for transfer in ("full", "linear"))
    assert len(trained_norms(full)) == 4  # two of the patch embedding, two of the head
    assert trained_norms(frozen) == []


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_dataset(tmp_path_factory.mktemp("data") / "shapes", per_class=32))


def run(root: str, out: Path, **more: Any) -> dict[str, Any]:
    data = DataConfig(root=root, points=64, batch_size=12)
    plan = TrainerConfig(epochs=5, accelerator="cpu", validate_every=1)
    result = finetune(data=data, classifier=SMALL, optim=OPTIM, trainer=plan, out=str(out), **more)
    return json.loads((result.out / "results.json").read_text())


def test_a_short_run_is_tested_as_it_trains(root: str, tmp_path: Path) -> None:
    found = run(root, tmp_path / "standard")  # 30 steps
    assert found["batch_norm"] == "averaged over the training clouds; 30 steps are too few for running averages"
    assert found["metrics"]["oa"] > 60
    # As in the releases, running averages are used under "legacy": they know next to nothing.
    legacy = run(root, tmp_path / "legacy", protocol="legacy")
    assert "batch_norm" not in legacy
    assert legacy["metrics"]["oa_last"] < found["metrics"]["oa"] - 15


def test_a_long_run_keeps_its_running_averages(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(root, tmp_path / "averaged")
    monkeypatch.setattr("act3d.engine.batch_statistics.LEFT", 0.1)  # as if 30 steps were many
    assert "batch_norm" not in run(root, tmp_path / "running")
    averaged, running = (checkpoints.load(tmp_path / name).model for name in ("averaged", "running"))
    same = {name for name, value in averaged.state_dict().items() if torch.equal(value, running.state_dict()[name])}
    assert {name for name in averaged.state_dict() if name not in same} == {
        name for name in averaged.state_dict() if "running" in name
    }

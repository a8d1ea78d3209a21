"""Training on several datasets at once: exact resume, what checkpoints say, and what a resumed run refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from act3d import checkpoints
from act3d.commands.align import align
from act3d.commands.autoencode import autoencode
from act3d.commands.pretrain import pretrain
from act3d.data import open_dataset
from act3d.data.opening import choose_source, open_for_model
from act3d.engine.run_folder import RunResult
from act3d.errors import ConfigError, InputError
from act3d.settings.training import AutoencoderConfig, BackboneConfig, OptimConfig, StudentConfig
from tests.data.helpers import write_packed
from tests.engine.test_resume import Killed, assert_same_run, interrupt_at, kill
from tests.fixtures.packed import write_dataset

ENCODER = {"patches": 8, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pool")
    return f"{write_dataset(folder / 'a')},{write_packed(folder / 'b', clouds=12)}"


def stage1(roots: str, out: Path, weights: list[float], **rest: Any) -> RunResult:
    return autoencode(
        data={"root": roots, "weights": weights, "points": 64, "batch_size": 4, "val_fraction": 0.2},
        autoencoder=AutoencoderConfig(patches=8, patch_size=8, width=16, codes=16, graph_width=32, folding_width=16),
        teacher=BackboneConfig(name="none", prompts=2),
        optim=OptimConfig(lr=1e-3, warmup_epochs=1),
        trainer={"epochs": 2, "log_every": 1, "save_every_minutes": 0.0},
        out=str(out),
        **rest,
    )


@pytest.mark.parametrize("batch", [2, 8])
def test_a_killed_run_on_a_pool_goes_on_as_if_it_had_not_been(
    roots: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    whole = stage1(roots, tmp_path / "whole", [1.5, 0.5])
    interrupt_at(monkeypatch, batch, kill)
    with pytest.raises(Killed):
        stage1(roots, tmp_path / "killed", [1.5, 0.5])
    monkeypatch.undo()
    assert_same_run(stage1(roots, tmp_path / "killed", [1.5, 0.5], resume=True), whole)


def test_all_fingerprints_are_kept_and_checked(roots: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 9, kill)
    with pytest.raises(Killed):
        stage1(roots, tmp_path / "run", [1, 2])
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"resume: the run has other data\.weights: shapes\+random \(\[1.0, 2.0\]\)"):
        stage1(roots, tmp_path / "run", [2, 1], resume=True)
    first, second = roots.split(",")
    with pytest.raises(InputError, match="resume: the run has other data: "):
        stage1(f"{second},{first}", tmp_path / "run", [1, 2], resume=True)
    done = stage1(roots, tmp_path / "run", [1, 2], resume=True)
    known = [
        {"name": open_dataset(root).name, "fingerprint": open_dataset(root).fingerprint} for root in (first, second)
    ]
    assert done.last is not None
    for data in (
        checkpoints.load(done.last).meta["data"],
        json.loads((done.out / "results.json").read_text())["data"],
    ):
        assert [{key: each[key] for key in ("name", "fingerprint")} for each in data["datasets"]] == known
        assert [each["weight"] for each in data["datasets"]] == [1, 2]


def test_what_learnt_from_a_pool_opens_one_of_its_datasets(roots: str, tmp_path: Path) -> None:
    done = stage1(roots, tmp_path / "run", [])
    assert done.last is not None
    meta = dict(checkpoints.load(done.last).meta)
    with pytest.raises(ConfigError, match=r"data.root: missing; the model was trained on several datasets"):
        choose_source(meta, "")
    first = roots.split(",")[0]
    assert not open_for_model(meta, first, "test").warnings
    meta["data"]["datasets"][0]["fingerprint"] = "another"
    assert "the model was trained on another" in open_for_model(meta, first, "test").warnings[0]


def test_pretraining_and_alignment_take_pools(roots: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common: dict[str, Any] = {
        "optim": OptimConfig(lr=1e-3, warmup_epochs=1),
        "trainer": {"epochs": 1, "save_every_minutes": 0.0, "validate_every": 1},
    }
    data = {"root": roots, "points": 64, "batch_size": 8, "val_fraction": 0.3}
    made = pretrain(
        data=data,
        method="point_mae",
        point_mae={"patches": 8, "patch_size": 8},
        student=StudentConfig(width=16, depth=2, heads=2, decoder_depth=1, decoder_heads=2),
        out=str(tmp_path / "student"),
        **common,
    )
    assert 0 <= made.metrics["probe"] <= 100
    named = align(data=data, checkpoint=str(made.out), out=str(tmp_path / "named"), text={"clean": False}, **common)
    assert {"recall_5", "zero_shot"} <= named.metrics.keys()


def test_a_cached_teacher_of_a_weighted_pool_resumes_exactly(
    roots: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = stage1(roots, tmp_path / "teacher", [])

    def student(out: Path, resume: bool = False) -> RunResult:
        return pretrain(
            data={"root": roots, "weights": [2, 0.5], "points": 64, "batch_size": 4, "val_fraction": 0.2},
            teacher={"checkpoint": str(teacher.out), "cache": True, "views": 2, "cache_dir": str(tmp_path / "targets")},
            student=StudentConfig(width=16, depth=2, heads=2, decoder_depth=1, decoder_heads=2),
            optim=OptimConfig(lr=1e-3, warmup_epochs=1),
            trainer={"epochs": 3, "log_every": 1, "save_every_minutes": 0.0, "validate_every": 3},
            out=str(out),
            resume=resume,
        )

    whole = student(tmp_path / "whole")
    interrupt_at(monkeypatch, 11, kill)
    with pytest.raises(Killed):
        student(tmp_path / "killed")
    monkeypatch.undo()
    assert_same_run(student(tmp_path / "killed", resume=True), whole)

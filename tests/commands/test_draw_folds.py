"""`act3d draw-folds`: what it writes, that it can be trusted, and that the other commands take it."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from act3d.cli import main
from act3d.data import fewshot, open_dataset
from tests.fixtures import released_layouts as layouts
from tests.fixtures.packed import write_dataset

NAMES = [f"kind_{number}" for number in range(6)]
ALL = [(way, shot, fold) for way, shot in fewshot.SETTINGS for fold in range(10)]


def draw(root: Path, out: Path, *more: str) -> int:
    return main(["draw-folds", "--data.root", str(root), "--out", str(out), *more])


def test_all_folds_of_modelnet40(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.modelnet40_cache(tmp_path, train=20, test=20, points=16, classes=[*NAMES, *"abcd"])
    out = tmp_path / "ModelNetFewshot"
    assert draw(tmp_path / "ModelNet", out) == 0
    assert "modelnet40: 40 folds written" in capsys.readouterr().out
    assert sorted(out.glob("*/*.pkl")) == sorted(fewshot.file_of(out, *which) for which in ALL)
    with fewshot.file_of(out, 10, 20, 3).open("rb") as file:
        content = pickle.load(file)  # the released code reads it like this
    assert [len(content[part]) for part in ("train", "test")] == [200, 200]
    points, label, _ = content["train"][0]
    assert (points.shape, points.dtype, label) == ((16, 3), np.float32, 0)
    assert main(["check-data", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "few-shot folds, modelnet40-fewshot" in printed
    assert "10-way 20-shot, 10 folds of 200 + 200 shapes: 400 clouds of 16 points" in printed


def test_text_files_do_as_well(tmp_path: Path) -> None:
    base = layouts.modelnet40(tmp_path, train=2, test=1, points=8192, classes=NAMES[:2])
    out = tmp_path / "out"
    few = ["--tasks.ways", "2", "--tasks.shots", "1", "--tasks.folds", "1", "--tasks.queries", "1"]
    assert draw(base, out, *few) == 0
    assert fewshot.read_fold(out, 2, 1, 0).train.points == 8192


def test_kept_folds_are_those_that_fewshot_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = write_dataset(tmp_path / "shapes"), tmp_path / "folds"
    few = ["--tasks.ways", "2,3", "--tasks.shots", "2", "--tasks.folds", "0,1", "--tasks.queries", "2"]
    assert draw(root, out, *few) == 0
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.pkl")}
    assert len(before) == 4
    train, test = open_dataset(root, "train"), open_dataset(root, "test")
    drawn, kept = fewshot.make_fold(train, test, 3, 2, 1, 0, 2), fewshot.read_fold(out, 3, 2, 1)
    assert kept.train.classes == drawn.train.classes
    for one, other in zip(kept, drawn, strict=True):
        assert one.labels.tolist() == other.labels.tolist()
        all_of_it = range(len(one))
        assert torch.allclose(one.fetch(all_of_it)["points"], other.fetch(all_of_it)["points"], atol=1e-5)
    # What is there is left alone, what is missing comes back the same, to the byte.
    lost = fewshot.file_of(out, 2, 2, 1)
    content = lost.read_bytes()
    lost.unlink()
    capsys.readouterr()
    assert draw(root, out, *few) == 0
    assert "shapes: 1 fold written" in (printed := capsys.readouterr().out)
    assert "3 there already" in printed
    assert lost.read_bytes() == content
    assert all(path.stat().st_mtime_ns == before[path] for path in before if path != lost)
    assert main(["check-data", str(out)]) == 0
    run = ["fewshot", "--data.root", str(out), "--out", str(tmp_path / "run"), *few[:4], "--data.points", "64"]
    run += ["--tasks.folds", "1"]
    size = ["--classifier.patches", "8", "--classifier.width", "16", "--classifier.depth", "1"]
    size += ["--classifier.heads", "2", "--trainer.epochs", "1", "--trainer.accelerator", "cpu"]
    assert main([*run, *size, "--optim.warmup_epochs", "0"]) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["data"] == {"name": "shapes-fewshot", "fingerprint": fewshot.fingerprint(out), "folds": "drawn"}
    assert list(found["metrics"]["settings"]) == ["2w2s", "3w2s"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tasks.draw_seed", "1"], "holds folds with draw_seed 0, not 1; choose another folder"),
        (["--tasks.ways", "4"], "needs 4 classes with 2 training shapes and one test shape or more; there are 3"),
        (["--data.test_split", "train"], "data.test_split: train is in data.split"),
        (["--data.split", "nothing"], "has no split 'nothing'"),
    ],
)
def test_mistakes_end_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    root, out = write_dataset(tmp_path / "shapes"), tmp_path / "folds"
    few = ["--tasks.ways", "2", "--tasks.shots", "2", "--tasks.folds", "1", "--tasks.queries", "2"]
    assert draw(root, out, *few) == 0
    capsys.readouterr()
    assert draw(root, out, *few, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert len(list(out.glob("*/*.pkl"))) == 1


def test_released_folds_are_not_mixed_with_drawn_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released = layouts.fewshot(tmp_path, folds=1, points=16, test=2)
    few = ["--tasks.ways", "2", "--tasks.shots", "2", "--tasks.queries", "2"]
    assert draw(write_dataset(tmp_path / "shapes"), released, *few) == 2
    assert "holds folds that act3d did not draw" in capsys.readouterr().err
    (released / "folds.json").write_text("{")
    assert main(["check-data", str(released)]) == 2
    assert "folds.json is damaged" in capsys.readouterr().out

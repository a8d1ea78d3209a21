"""bfloat16 with clipped gradients trains as float32 does, in every kind of training that clips by default."""

from pathlib import Path
from typing import Any

import pytest

from act3d.commands.fewshot import fewshot
from act3d.commands.finetune import finetune
from act3d.commands.segment import segment
from act3d.files import read_metrics
from tests.commands.test_segment import write_parts
from tests.fixtures.packed import write_dataset

SIZE: dict[str, Any] = {"patches": 8, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}


def plan(precision: str) -> dict[str, Any]:
    return {
        "optim": {"warmup_epochs": 0, "clip": 0.1, "lr": 1e-3},
        "trainer": {"epochs": 2, "precision": precision, "accelerator": "cpu", "log_every": 1},
    }


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in read_metrics(folder / "metrics.csv") if row["loss"]]


def assert_near(first: list[float], second: list[float]) -> None:
    assert len(first) == len(second) > 2
    assert first != second  # products were rounded to bfloat16
    assert first[:3] == pytest.approx(second[:3], rel=0.05)
    assert first == pytest.approx(second, rel=0.4)  # the rounding of six steps adds up in so small a model


def test_finetune(tmp_path: Path) -> None:
    root = str(write_dataset(tmp_path / "shapes", per_class=12))
    for precision in ("fp32", "bf16"):
        data = {"root": root, "points": 64, "batch_size": 9}
        finetune(data=data, classifier=SIZE, out=str(tmp_path / precision), **plan(precision))
    assert_near(losses(tmp_path / "bf16"), losses(tmp_path / "fp32"))


def test_segment(tmp_path: Path) -> None:
    root = str(write_parts(tmp_path / "parts"))
    for precision in ("fp32", "bf16"):
        data = {"root": root, "points": 64, "batch_size": 8}
        model = {**SIZE, "head_widths": [32, 32, 16, 16], "votes": 0}
        segment(data=data, segmenter=model, out=str(tmp_path / precision), **plan(precision))
    assert_near(losses(tmp_path / "bf16"), losses(tmp_path / "fp32"))


def test_fewshot(tmp_path: Path) -> None:
    root = str(write_dataset(tmp_path / "shapes", per_class=12))
    tasks = {"ways": [3], "shots": [4], "folds": [0], "queries": 3}
    data = {"root": root, "points": 64, "batch_size": 6}
    result = fewshot(data=data, classifier=SIZE, tasks=tasks, out=str(tmp_path / "run"), **plan("bf16"))
    assert 0 <= result.metrics["settings"]["3w4s"]["mean"] <= 100

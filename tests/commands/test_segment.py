"""`act3d segment`: parts and scenes, small, from beginning to results."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act3d import checkpoints
from act3d.commands.segment import segment
from act3d.data.rooms import write_description
from act3d.engine.run_folder import RunResult
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.models.student import Student
from act3d.readers.ply import read_ply
from act3d.settings.segmentation import SceneConfig, SegmenterConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from tests.command_line import settings_of_words

Run = Callable[..., RunResult]

SMALL = {"patches": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2, "head_widths": [32, 32, 16, 16]}


def write_parts(root: Path, per_class: int = 16, points: int = 128) -> Path:
    """Rods (top, bottom) and plates (top, bottom, mark); the mark is a corner of every second plate."""
    rng = np.random.default_rng(0)
    clouds, parts, rows = [], [], []
    for name in ("plate", "rod"):
        for number in range(per_class):
            cloud = rng.uniform(-1, 1, (points, 3)) * ((1, 0.3, 1) if name == "plate" else (0.2, 1, 0.2))
            part = (cloud[:, 1] < 0).astype(np.uint8)
            if name == "plate" and number % 2:
                part[(cloud[:, 0] > 0.5) & (cloud[:, 2] > 0.5)] = 2
            clouds.append(cloud / np.linalg.norm(cloud, axis=1).max())
            parts.append(part)
            rows.append([f"{name}/{number}", name, "train" if number < 0.75 * per_class else "test", 0, 0, 0, 1])
    root.mkdir(parents=True)
    np.save(root / "points-00000.npy", np.stack(clouds).astype(np.float16))
    np.save(root / "parts-00000.npy", np.stack(parts))
    with (root / "clouds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "class", "split", "cx", "cy", "cz", "scale"], *rows])
    info = {
        "format": "act3d-packed", "version": 1, "name": "things", "classes": ["plate", "rod"],
        "parts": ["top", "bottom", "mark"], "class_parts": {"plate": [0, 1, 2], "rod": [0, 1]}, "points": points,
        "dtype": "float16", "splits": {"train": 0, "test": 0}, "fingerprint": "f" * 16, "up": "y",
        "normalization": "unit_sphere",
        "shards": [{"points": "points-00000.npy", "parts": "parts-00000.npy", "count": len(clouds)}],
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(info))
    return root


def write_rooms(root: Path) -> Path:
    """Rooms of 2 x 1.5 m with a floor, a ceiling and boxes; some points without a label."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"Area_{i}_room_{k}" for i in (1, 2, 5) for k in (1, 2)]
    for name in names:
        points = rng.random((900, 3)) * [2, 1.5, 2]
        label = np.where(points[:, 2] > 1.5, 0, 1)
        points[label == 0, 2], points[label == 1, 2] = 2.0, 0.0
        box = rng.random((300, 3)) * [0.5, 0.5, 1.0] + [1, 0.5, 0.3]
        rows = np.concatenate([np.column_stack([points, label]), np.column_stack([box, np.full(300, 2)])])
        rows[rng.random(len(rows)) < 0.05, 3] = -1
        np.save(root / f"{name}.npy", np.column_stack([rows[:, :3], np.full((1200, 3), 99), rows[:, 3]]))
    write_description(root, "boxes", ["ceiling", "floor", "thing"], names)
    return root


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a tiny segmentation of parts: 24 training shapes in batches of 8."""
    root = write_parts(tmp_path_factory.mktemp("data") / "things")

    def run(
        out: Path, *, model: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **more: Any
    ) -> RunResult:
        plan = {"epochs": 2, "log_every": 1, "save_every_minutes": 0.0, "accelerator": "cpu"} | more.pop("plan", {})
        return segment(
            data=DataConfig(
                **({"root": str(root), "points": 64, "batch_size": 8, "val_fraction": 0.25} | (data or {}))
            ),
            segmenter=SegmenterConfig(**({**SMALL, "votes": 0} | (model or {}))),
            optim=OptimConfig(lr=5e-3, warmup_epochs=0),
            trainer=TrainerConfig(**plan),
            out=str(out),
            **more,
        )

    return run


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a tiny segmentation of scenes: 4 training rooms, 2 test rooms."""
    root = write_rooms(tmp_path_factory.mktemp("data") / "rooms")

    def run(out: Path, *, rooms: dict[str, Any] | None = None, **more: Any) -> RunResult:
        plan = {"epochs": 2, "log_every": 1, "accelerator": "cpu"} | more.pop("plan", {})
        return segment(
            data=DataConfig(root=str(root), points=64, batch_size=8, val_fraction=0.25),
            segmenter=SegmenterConfig(**SMALL),
            scenes=SceneConfig(**({"min_points": 100, "coverage": 2.0, "votes": 2, "write": 1} | (rooms or {}))),
            optim=OptimConfig(lr=5e-3, warmup_epochs=0),
            trainer=TrainerConfig(**plan),
            out=str(out),
            **more,
        )

    return run


def test_parts_are_learned_and_reported(parts: Run, tmp_path: Path) -> None:
    result = parts(tmp_path / "run", model={"votes": 3}, plan={"epochs": 24}, seed=1)
    m = result.metrics
    assert m["accuracy"] > 75  # the halves of a shape; guessing gives 50
    assert set(m["categories"]) == {"plate", "rod"}
    assert m["categories"]["rod"]["shapes"] == 4
    per_class = [row["miou"] for row in m["categories"].values()]
    assert m["class_miou"] == pytest.approx(sum(per_class) / 2)
    assert 0 < m["instance_miou_voted"] <= 100
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert written["protocol"] == "standard"
    assert written["protocol_name"] == "standard (last)"
    assert written["task"] == "parts"
    assert result.best is None
    meta = checkpoints.load(tmp_path / "run").meta
    assert meta["parts"] == ["top", "bottom", "mark"]
    assert meta["class_parts"] == {"plate": [0, 1, 2], "rod": [0, 1]}
    again = parts(tmp_path / "again", checkpoint=str(tmp_path / "run"), evaluate=True)
    assert again.metrics["instance_miou"] == pytest.approx(m["instance_miou"])
    assert json.loads((tmp_path / "again" / "results.json").read_text())["protocol"] == "given weights"


def test_a_resumed_run_equals_an_uninterrupted_one(parts: Run, tmp_path: Path) -> None:
    parts(tmp_path / "whole")
    parts(tmp_path / "cut", plan={"max_steps": 4})
    parts(tmp_path / "cut", resume=True)
    whole, cut = (checkpoints.load(tmp_path / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_protocols(parts: Run, tmp_path: Path) -> None:
    best = parts(tmp_path / "best", select="best")
    assert best.metrics["weights"] == "best"
    assert best.best is not None
    assert {"val_instance_miou", "val_class_miou", "val_accuracy"} <= set(best.metrics)
    legacy = parts(tmp_path / "legacy", protocol="legacy")
    assert legacy.metrics["instance_miou"] >= legacy.metrics["instance_miou_last"] - 1e-9
    header = (tmp_path / "legacy" / "metrics.csv").read_text().splitlines()[0]
    assert "val_instance_miou" in header


def test_what_is_left_out_is_not_judged(parts: Run, tmp_path: Path) -> None:
    result = parts(tmp_path / "run", model={"leave_out": "plate+mark"}, plan={"epochs": 1})
    assert set(result.metrics["categories"]) == {"rod"}
    with pytest.raises(InputError, match="neither a class nor a part"):
        parts(tmp_path / "other", model={"leave_out": "plates"})


def test_starts_from_a_student(parts: Run, tmp_path: Path) -> None:
    student = Student(patches=16, patch_size=8, width=24, depth=3, heads=2, decoder_depth=1, decoder_heads=2)
    checkpoints.save(student, tmp_path / "s.safetensors")
    parts(tmp_path / "run", checkpoint=str(tmp_path / "s.safetensors"), plan={"epochs": 1, "max_steps": 1})
    assert checkpoints.load(tmp_path / "run").model.encoder.config == student.encoder.config
    start = json.loads((tmp_path / "run" / "start.json").read_text())
    assert (start["kind"], start["fresh"]) == ("student", [])
    with pytest.raises(CheckpointError, match="is no segmenter"):
        parts(tmp_path / "e", checkpoint=str(tmp_path / "s.safetensors"), evaluate=True)


def test_scenes_are_learned_written_and_judged_again(scenes: Run, tmp_path: Path) -> None:
    result = scenes(tmp_path / "run", plan={"epochs": 5})
    m = result.metrics
    assert m["miou"] > 60
    assert m["blocks"]["oa"] > 60
    assert set(m["rooms"]) == {"Area_5_room_1", "Area_5_room_2"}
    assert m["points"] == sum(row["points"] for row in m["rooms"].values()) < 2400  # some have no label
    folder = tmp_path / "run" / "predictions"
    assert sorted(path.name for path in folder.iterdir()) == [
        "Area_5_room_1.png", "Area_5_room_1_predicted.ply", "Area_5_room_1_true.ply",
    ]  # fmt: skip
    again = scenes(tmp_path / "again", checkpoint=str(tmp_path / "run"), evaluate=True)
    assert again.metrics["miou"] == pytest.approx(m["miou"])
    other = scenes(
        tmp_path / "other", checkpoint=str(tmp_path / "run"), evaluate=True, rooms={"held_out": "Area_1", "write": 0}
    )
    assert set(other.metrics["rooms"]) == {"Area_1_room_1", "Area_1_room_2"}
    assert not (tmp_path / "other" / "predictions").exists()


def test_whole_scans_are_labelled(scenes: Run, tmp_path: Path) -> None:
    from act3d.commands.predict import predict

    scenes(tmp_path / "run", plan={"epochs": 1, "max_steps": 1}, rooms={"write": 0})
    scan = np.random.default_rng(0).random((500, 3)) * [2, 1, 2] - 7
    np.save(tmp_path / "scan.npy", scan)
    report = predict(str(tmp_path / "scan.npy"), str(tmp_path / "run"), out=str(tmp_path / "scan.ply"), up="y")
    assert report.labels["scan.npy"].shape == (500,)
    assert np.allclose(read_ply(tmp_path / "scan.ply").vertices, scan, atol=1e-5)


def test_whole_rooms_are_held_out(scenes: Run, tmp_path: Path) -> None:
    result = scenes(tmp_path / "run", select="best", plan={"epochs": 1}, rooms={"write": 0})
    assert result.metrics["weights"] == "best"
    assert json.loads((tmp_path / "run" / "results.json").read_text())["clouds"]["rooms"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"patches": 100}}, "segmenter.patches: 100 must be <= data.points"),
        ({"model": {"head_widths": [8, 8]}}, "segmenter.head_widths"),
        ({"model": {"heads": 3}}, "must divide"),
        ({"test_split": "train"}, "is in data.split"),
        ({"evaluate": True}, "needs the segmenter to test"),
        ({"data": {"batch_size": 1}}, "batch norms"),
    ],
)
def test_settings_that_cannot_be(parts: Run, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parts(tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", ["act/parts", "act/scenes", "small/parts", "small/scenes"])
def test_presets_hold_settings_that_exist(preset: str) -> None:
    settings = settings_of_words("segment", "--config", preset, "--data.root", "x")
    assert settings.segmenter.task == preset.split("/")[1]
    if preset.startswith("act/"):
        assert (settings.data.points, settings.segmenter.patches, settings.optim.lr) == (2048, 128, 2e-4)
        assert (settings.trainer.epochs, settings.data.batch_size) == ((300, 16), (60, 32))[preset == "act/scenes"]

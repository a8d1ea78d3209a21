"""`act3d segment`: parts and scenes, small, from beginning to results."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act3d import checkpoints
from act3d.commands.evaluate import evaluate
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
    own = write_parts(tmp_path_factory.mktemp("data") / "things")

    def run(
        out: Path,
        *,
        root: str = str(own),
        model: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        **more: Any,
    ) -> RunResult:
        plan = {"epochs": 2, "log_every": 1, "save_every_minutes": 0.0, "accelerator": "cpu"} | more.pop("plan", {})
        return segment(
            data=DataConfig(**({"root": root, "points": 64, "batch_size": 8, "val_fraction": 0.25} | (data or {}))),
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
    own = write_rooms(tmp_path_factory.mktemp("data") / "rooms")

    def run(out: Path, *, root: str = str(own), rooms: dict[str, Any] | None = None, **more: Any) -> RunResult:
        plan = {"epochs": 2, "log_every": 1, "accelerator": "cpu"} | more.pop("plan", {})
        return segment(
            data=DataConfig(root=root, points=64, batch_size=8, val_fraction=0.25),
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
    again = evaluate(str(tmp_path / "run"), votes=3, out=str(tmp_path / "again"), device="cpu")
    assert again.task == "parts"
    for name in ("instance_miou", "class_miou", "accuracy", "instance_miou_voted", "class_miou_voted", "categories"):
        assert again.metrics[name] == m[name]
    written = json.loads((tmp_path / "again" / "results.json").read_text())
    assert (written["command"], written["protocol"], written["data"]["split"]) == ("evaluate", "standard", "test")


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


def test_what_is_left_out_does_not_count(parts: Run, tmp_path: Path) -> None:
    result = parts(tmp_path / "run", model={"leave_out": "plate+mark"}, plan={"epochs": 1})
    assert set(result.metrics["categories"]) == {"rod"}
    # The run knows what it left out.
    again = evaluate(str(tmp_path / "run"), device="cpu")
    assert again.metrics["categories"] == result.metrics["categories"]
    with pytest.raises(InputError, match="neither a class nor a part"):
        parts(tmp_path / "other", model={"leave_out": "plates"})


def test_starts_from_a_student(parts: Run, tmp_path: Path) -> None:
    student = Student(patches=16, patch_size=8, width=24, depth=3, heads=2, decoder_depth=1, decoder_heads=2)
    checkpoints.save(student, tmp_path / "s.safetensors")
    parts(tmp_path / "run", checkpoint=str(tmp_path / "s.safetensors"), plan={"epochs": 1, "max_steps": 1})
    assert checkpoints.load(tmp_path / "run").model.encoder.config == student.encoder.config
    start = json.loads((tmp_path / "run" / "start.json").read_text())
    assert (start["kind"], start["fresh"]) == ("student", [])
    with pytest.raises(CheckpointError, match="holds a student, not a classifier or segmenter"):
        evaluate(str(tmp_path / "s.safetensors"))


def test_scenes_are_learned_written_and_evaluated_again(scenes: Run, tmp_path: Path) -> None:
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
    # Points, blocks, rooms and votes of the training are the defaults: the numbers are the same.
    again = evaluate(str(tmp_path / "run"), data={"batch_size": 8}, out=str(tmp_path / "again"), device="cpu")
    assert (again.task, again.data["points"], again.votes) == ("scenes", 64, 2)
    for name in ("miou", "macc", "oa", "blocks", "classes", "points"):
        assert again.metrics[name] == m[name]
    written = json.loads((tmp_path / "again" / "results.json").read_text())
    assert written["test_rooms"] == ["Area_5_room_1", "Area_5_room_2"]
    assert len(list((tmp_path / "again" / "predictions").glob("*.ply"))) == 4
    other = evaluate(str(tmp_path / "run"), data={"split": "Area_1"}, device="cpu")
    assert set(other.metrics["rooms"]) == {"Area_1_room_1", "Area_1_room_2"}


def in_another_order(root: Path, out: Path, key: str) -> Path:
    """A copy of a dataset whose classes (or parts) are listed, and numbered, in another order."""
    shutil.copytree(root, out)
    path = next(path for path in (out / "dataset.json", out / "scenes.json") if path.exists())
    info = json.loads(path.read_text())
    info.pop("digest", None)
    path.write_text(json.dumps({**info, key: info[key][::-1]}))
    return out


def own_root(run: Path) -> Path:
    return Path(checkpoints.load(run).meta["settings"]["data"]["root"])


def test_labels_in_another_order_are_refused(parts: Run, scenes: Run, tmp_path: Path) -> None:
    plan = {"epochs": 1, "max_steps": 1}
    parts(tmp_path / "p", plan=plan)
    scenes(tmp_path / "s", plan=plan, rooms={"write": 0})
    for run, key, what in (("p", "parts", "parts"), ("p", "classes", "categories"), ("s", "classes", "classes")):
        root = in_another_order(own_root(tmp_path / run), tmp_path / f"{run}-{key}", key)
        with pytest.raises(CheckpointError, match=f"has the model's {what} in another order"):
            evaluate(str(tmp_path / run), data={"root": str(root)}, device="cpu")
        # Training from it takes the encoder only: its head means other labels.
        (parts if run == "p" else scenes)(
            tmp_path / f"{run}-{key}-run", checkpoint=str(tmp_path / run), plan=plan, root=str(root)
        )
        start = json.loads((tmp_path / f"{run}-{key}-run" / "start.json").read_text())
        assert (start["kind"], "fresh" in start) == ("segmenter", True)
    parts(tmp_path / "same", checkpoint=str(tmp_path / "p"), plan=plan)
    assert "fresh" not in json.loads((tmp_path / "same" / "start.json").read_text())


def test_whole_scans_are_labelled(scenes: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from act3d.commands.predict import predict

    scenes(tmp_path / "run", plan={"epochs": 1, "max_steps": 1}, rooms={"write": 0})
    scan = np.random.default_rng(0).random((500, 3)) * [2, 1, 2] - 7
    np.save(tmp_path / "scan.npy", scan)
    report = predict(str(tmp_path / "scan.npy"), str(tmp_path / "run"), out=str(tmp_path / "scan.ply"), up="y")
    assert report.labels["scan.npy"].shape == (500,)
    assert np.allclose(read_ply(tmp_path / "scan.ply").vertices, scan, atol=1e-5)
    assert "which axis is up" not in capsys.readouterr().err
    np.save(tmp_path / "again.npy", scan)
    predict(str(tmp_path / "*.npy"), str(tmp_path / "run"), out=str(tmp_path / "both"))
    assert capsys.readouterr().err.count(".npy files do not say which axis is up: z, as in the training") == 1


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


def test_other_parameters_of_a_trained_segmenter_are_trained(parts: Run, tmp_path: Path) -> None:
    plan = {"epochs": 1, "max_steps": 1}
    parts(tmp_path / "first", plan=plan)
    low_rank = parts(tmp_path / "lora", checkpoint=str(tmp_path / "first"), plan=plan, model={"transfer": "lora"})
    found = json.loads((tmp_path / "lora" / "results.json").read_text())
    assert (found["transfer"], found["start"]["kind"]) == ("lora", "segmenter")
    first, then = (checkpoints.load(tmp_path / name).model for name in ("first", "lora"))
    assert torch.equal(first.encoder.blocks[1].attn.qkv.weight, then.encoder.blocks[1].attn.qkv.weight)
    head = sum(p.numel() for name, p in then.named_parameters() if not name.startswith("encoder."))
    assert found["parameters"]["trained"] == head + 2 * (4 * (16 + 48) + 4 * (16 + 64))  # blocks, rank, qkv, fc1
    assert (low_rank.out / "checkpoints").is_dir()
    parts(tmp_path / "full", checkpoint=str(tmp_path / "lora"), plan=plan)  # its updates are inside the weights now
    assert not any("lora" in name for name in checkpoints.load(tmp_path / "full").model.state_dict())

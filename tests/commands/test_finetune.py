"""`act3d finetune` end to end on tiny clouds: transfers, protocols, resume, released layouts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d import checkpoints
from act3d.cli import main
from act3d.commands.finetune import finetune
from act3d.data import open_dataset
from act3d.engine.log import read_metrics
from act3d.engine.loop import Interrupted
from act3d.engine.run_folder import RunFolder, RunResult
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.models.point_mae import PointMAE
from act3d.models.student import Student
from act3d.recipes.classifier import ClassifierTraining, build_classifier
from act3d.settings.tasks import ClassifierConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from tests.fixtures import released_layouts as layouts
from tests.fixtures.packed import write_dataset

SIZE: dict[str, Any] = {"patches": 8, "patch_size": 8}
SMALL = ClassifierConfig(**SIZE, width=16, depth=2, heads=2)
OPTIM = OptimConfig(lr=2e-3, warmup_epochs=1)
PLAN = TrainerConfig(epochs=3, accelerator="cpu", log_every=2)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Balls, boxes and rods, 18 of each to train on, 128 points stored."""
    root = write_dataset(tmp_path_factory.mktemp("data") / "shapes", per_class=24)
    return DataConfig(root=str(root), points=64, batch_size=9, augment="rotate_y")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's native checkpoint."""
    torch.manual_seed(7)
    model = Student(**SIZE, width=16, depth=2, heads=2, decoder_heads=2)
    return checkpoints.save(model, tmp_path_factory.mktemp("student") / "s.safetensors", {"points": 64})


def train(
    checkpoint: str, data: DataConfig, classifier: ClassifierConfig, plan: TrainerConfig, **rest: Any
) -> RunResult:
    return finetune(checkpoint=checkpoint, data=data, classifier=classifier, optim=OPTIM, trainer=plan, **rest)


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_it_learns(shapes: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    # 120 steps: batch norm's running variance starts at 1 and needs them to forget it (0.9 ** 70 is still too much).
    plan = PLAN.model_copy(update={"epochs": 20, "log_every": 50})
    result = train("", shapes, SMALL, plan, out=str(out))
    assert result.metrics["oa"] > 60  # chance is 33
    assert "18 test clouds, standard (last): OA" in capsys.readouterr().out
    found = results(out)
    assert found["command"] == "finetune"
    assert (found["protocol"], found["select"], found["augment"]) == ("standard", "last", "rotate_y")
    assert (found["transfer"], found["start"]["kind"]) == ("full", "scratch")
    assert found["data"] == {"name": "shapes", "fingerprint": open_dataset(shapes.root).fingerprint, "lives_on": "host"}
    assert found["clouds"] == {"train": 54, "test": 18}
    assert sum(map(sum, found["metrics"]["confusion"])) == 18
    model = checkpoints.load(out)
    assert model.meta["classes"] == ["ball", "box", "rod"]
    assert model.meta["points"] == 64
    assert (out / "metrics.csv").read_text().startswith("step,epoch,loss,train_oa,lr")


@pytest.mark.parametrize("transfer", ["full", "mlp3", "linear", "side", "bitfit", "lora", "adapter"])
def test_every_transfer_starts_from_a_student(transfer: Any, shapes: DataConfig, student: Path, tmp_path: Path) -> None:
    config = SMALL.model_copy(
        update={"transfer": transfer, "width": 999, "heads": 9, "label_smoothing": 0.1}
    )  # the checkpoint's size counts
    result = train(str(student), shapes, config, PLAN.model_copy(update={"epochs": 1}), out=str(tmp_path / "run"))
    model, before = checkpoints.load(result.out).model, checkpoints.load(student).model
    frozen = torch.equal(model.encoder.blocks[0].attn.qkv.weight, before.encoder.blocks[0].attn.qkv.weight)
    assert frozen == (transfer != "full")
    assert not torch.equal(model.encoder.cls_token, before.encoder.cls_token)
    assert results(result.out)["start"]["kind"] == "student"


def test_standard_looks_at_the_test_set_once(
    shapes: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    inner = ClassifierTraining._score

    def counted(self: Any, model: Any, points: torch.Tensor) -> Any:
        looked.append(len(points))
        return inner(self, model, points)

    monkeypatch.setattr(ClassifierTraining, "_score", counted)
    last = train("", shapes, SMALL, PLAN, out=str(tmp_path / "last"))
    assert looked == [18]
    assert last.best is None
    held = shapes.model_copy(update={"val_fraction": 0.2})
    best = train("", held, SMALL, PLAN, select="best", out=str(tmp_path / "best"))
    assert looked[1:] == [18]  # the chosen weights only
    found = results(best.out)
    assert (found["protocol_name"], found["clouds"]["train"]) == ("standard (best held out)", 42)
    assert "oa_last" not in found["metrics"]


def test_legacy_reports_the_best_epoch_on_the_test_set(shapes: DataConfig, tmp_path: Path) -> None:
    result = train("", shapes, SMALL, PLAN, protocol="legacy", out=str(tmp_path / "run"))
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val_oa")
    validation = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(validation) == 3
    assert result.metrics["oa"] == pytest.approx(max(validation), abs=1e-4)
    assert result.metrics["oa_last"] == pytest.approx(validation[-1], abs=1e-4)
    assert results(result.out)["protocol"] == "legacy"
    assert checkpoints.load(result.out).meta["protocol"] == "legacy"


def test_resume_is_exact(shapes: DataConfig, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(str(student), shapes, SMALL, PLAN, out=str(tmp_path / "whole"))
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(student.read_bytes())
    inner = ClassifierTraining.losses
    calls = []

    def stop(self: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:  # in the middle of the second epoch
            raise Interrupted("enough", "act3d ...", 2)
        return inner(self, *args)

    monkeypatch.setattr(ClassifierTraining, "losses", stop)
    plan = PLAN.model_copy(update={"save_every_steps": 1})
    with pytest.raises(Interrupted):
        train(str(copy), shapes, SMALL, plan, out=str(tmp_path / "parts"))
    copy.unlink()  # not needed again
    monkeypatch.undo()
    parts = train(str(copy), shapes, SMALL, plan, out=str(tmp_path / "parts"), resume=True)
    assert parts.metrics == whole.metrics
    a, b = checkpoints.load(whole.out).model.state_dict(), checkpoints.load(parts.out).model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert results(parts.out)["start"]["kind"] == "student"


@pytest.mark.parametrize("moment", ["before the first step", "after two steps"])
def test_killed_before_its_first_state_it_starts_from_the_checkpoint_again(
    shapes: DataConfig, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole = train(str(student), shapes, SMALL, PLAN, out=str(tmp_path / "whole"))
    inner, calls = ClassifierTraining.losses, []

    class Killed(BaseException):
        pass

    def kill(self: Any, *args: Any) -> Any:
        calls.append(1)
        if moment == "before the first step" or len(calls) > 2:
            raise Killed
        return inner(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTraining, "losses", kill)
        with pytest.raises(Killed):
            train(str(student), shapes, SMALL, PLAN, out=str(tmp_path / "parts"))
    folder = RunFolder(tmp_path / "parts")
    assert folder.start.exists()
    assert not folder.holds_state
    # `start.json` says that weights come from a state, which there is none of: the checkpoint is needed again.
    parts = finetune(out=str(folder.path), resume=True)
    assert parts.metrics == whole.metrics
    a, b = checkpoints.load(whole.out).model.state_dict(), checkpoints.load(parts.out).model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert results(parts.out)["start"] == results(whole.out)["start"]
    assert [row["step"] for row in read_metrics(parts.out / "metrics.csv")] == [
        row["step"] for row in read_metrics(whole.out / "metrics.csv")
    ]


def test_killed_before_its_first_state_and_its_checkpoint_gone(
    shapes: DataConfig, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(student.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTraining, "losses", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(str(copy), shapes, SMALL, PLAN, out=str(tmp_path / "parts"))
    copy.unlink()
    with pytest.raises(CheckpointError, match=r"copy\.safetensors"):  # rather than from random weights
        finetune(out=str(tmp_path / "parts"), resume=True)


def test_starts_from_point_mae(tmp_path: Path) -> None:
    model = PointMAE(**SIZE, width=16, depth=2, heads=2, decoder_heads=2)
    path = checkpoints.save(model, tmp_path / "mae.safetensors")
    classifier, start = build_classifier(str(path), SMALL, ["ball", "box", "rod"], 0)
    assert start["fresh"] == ["cls_token", "cls_pos"]
    assert torch.equal(classifier.encoder.norm.weight, model.encoder.norm.weight)


def test_released_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.scanobjectnn(tmp_path, points=96)
    layouts.modelnet40_cache(tmp_path, points=96)
    fast = ["--trainer.fast_dev_run", "true", "--data.points", "64", "--trainer.accelerator", "cpu"]
    size = {"patches": 8, "width": 16, "depth": 1, "heads": 2}
    small = [word for key, value in size.items() for word in (f"--classifier.{key}", str(value))]
    for name, root in (("scan", tmp_path / "ScanObjectNN"), ("model", tmp_path / "ModelNet")):
        words = ["finetune", "--data.root", str(root), "--out", str(tmp_path / name), "--optim.warmup_epochs", "0"]
        assert main([*words, *fast, *small]) == 0
    assert results(tmp_path / "scan")["data"]["name"] == "scanobjectnn-hardest"
    assert results(tmp_path / "model")["data"]["name"] == "modelnet40"
    assert results(tmp_path / "scan")["normalization"] == "none"
    printed = capsys.readouterr().err
    assert "published results on scanobjectnn-hardest use data.augment=rotate_y" in printed


def test_mistakes_end_in_one_line(shapes: DataConfig, student: Path, tmp_path: Path) -> None:
    run = {"out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=r"classifier.patches: 80 must be <= data.points \(64\)"):
        train("", shapes, SMALL.model_copy(update={"patches": 80}), PLAN, **run)
    with pytest.raises(InputError, match=r"data.points: 256 asked for; shapes stores 128"):
        train("", shapes.model_copy(update={"points": 256}), SMALL, PLAN, **run)
    with pytest.raises(ConfigError, match=r"test_split: test is in data.split"):
        train("", shapes.model_copy(update={"split": "train+test"}), SMALL, PLAN, **run)
    with pytest.raises(InputError, match="has no split 'val'"):
        train("", shapes, SMALL, PLAN, test_split="val", **run)
    with pytest.raises(CheckpointError, match="no such file"):
        train(str(tmp_path / "none.pth"), shapes, SMALL, PLAN, **run)
    bare = write_dataset(tmp_path / "bare", labelled=False)
    with pytest.raises(InputError, match="no class labels"):
        train("", shapes.model_copy(update={"root": str(bare)}), SMALL, PLAN, **run)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_batch_norms_cannot_learn_from_is_refused_before_the_run_begins(
    shapes: DataConfig, tmp_path: Path
) -> None:
    run = {"classifier": SMALL, "optim": OPTIM, "trainer": PLAN, "out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=r"data.batch_size: 1 is too few"):
        finetune(data=shapes.model_copy(update={"batch_size": 1}), **run)
    root = write_dataset(tmp_path / "one")
    table = root / "clouds.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:])]) + "\n")
    description = root / "dataset.json"
    info = json.loads(description.read_text())
    only = [line.replace(",box,", ",ball,").replace(",rod,", ",ball,") for line in lines]
    table.write_text("\n".join(only) + "\n")
    description.write_text(json.dumps({**info, "classes": ["ball"]}))
    with pytest.raises(InputError, match=r"has one class, ball; a classifier needs two"):
        finetune(data=shapes.model_copy(update={"root": str(root)}), **run)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("transfer", ["full", "mlp3"])
def test_a_frozen_encoder_is_in_eval_mode_from_the_first_step(
    transfer: Any, shapes: DataConfig, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    inner = ClassifierTraining.losses

    def look(self: Any, *args: Any) -> Any:
        seen.append(self.model.encoder.training)
        return inner(self, *args)

    monkeypatch.setattr(ClassifierTraining, "losses", look)
    plan, config = PLAN.model_copy(update={"max_steps": 2}), SMALL.model_copy(update={"transfer": transfer})
    run = {"checkpoint": str(student), "data": shapes, "optim": OPTIM, "out": str(tmp_path / "run")}
    finetune(classifier=config, trainer=plan, **run)
    assert seen == [transfer == "full"] * 2

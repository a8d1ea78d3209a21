import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from act3d.checkpoints import load
from act3d.data import open_dataset
from act3d.engine.batches import open_clouds
from act3d.geometry import chamfer, f_score
from act3d.models.autoencoder import Autoencoder
from act3d.recipes.autoencoder import AutoencoderTraining, summarise
from act3d.settings.training import BackboneConfig, DataConfig, OptimConfig, ScheduleConfig, TrainerConfig


def settings_of(**sections: Any) -> SimpleNamespace:
    return SimpleNamespace(optim=OptimConfig(), trainer=TrainerConfig(), seed=0, **sections)


def test_stage1_scores_are_those_of_single_clouds(dataset: Path) -> None:
    data = DataConfig(root=str(dataset), points=64, batch_size=4, val_split="test")
    both = open_clouds(data, 0)
    clouds = both.held_out
    assert clouds is not None
    model = Autoencoder(patches=8, patch_size=8, width=16, codes=16, teacher=None).eval()
    settings = settings_of(data=data, schedule=ScheduleConfig(), teacher=BackboneConfig())
    results = AutoencoderTraining(settings, model, both).validate()
    singles: dict[str, list[torch.Tensor]] = {name: [] for name in clouds.classes}
    for i in range(len(clouds)):
        points = clouds.fetch([i], 0)["points"]
        whole = model.reconstruct(model.patchify(points)).points
        row = [f_score(whole, points)[0], 1000 * chamfer(whole, points, norm=1), 1000 * chamfer(whole, points, norm=2)]
        singles[clouds.classes[clouds.labels[i]]].append(torch.stack(row))
    means = {name: torch.stack(rows).mean(0) for name, rows in singles.items()}
    for name, mean in means.items():
        found = results["categories"][name]
        assert found["clouds"] == 2
        assert [found["f_score"], found["cd_l1"], found["cd_l2"]] == pytest.approx(mean.tolist(), rel=1e-4)
    overall = torch.stack(list(means.values())).mean(0).tolist()
    assert [results["val_f_score"], results["val_cd_l1"], results["val_cd_l2"]] == pytest.approx(overall, rel=1e-4)


def test_the_mean_is_over_categories_and_not_over_clouds() -> None:
    sums = torch.tensor([[3.0, 3.0, 30.0, 60.0], [0, 0, 0, 0], [1.0, 0.0, 2.0, 4.0]])
    results = summarise(sums, ["a", "empty", "b"])
    assert results["val_f_score"] == pytest.approx(0.5)
    assert results["val_cd_l1"] == pytest.approx(6.0)
    assert set(results["categories"]) == {"a", "b"}


def test_a_run_folder_has_the_shape_that_all_have(stage1: Any, tmp_path: Path, dataset: Path) -> None:
    result = stage1(tmp_path / "run", epochs=2)
    names = {path.name for path in result.out.iterdir()}
    assert {"config.yaml", "metrics.csv", "results.json", "checkpoints"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert {p.name for p in result.last.parent.iterdir()} == {
        "last.ckpt",
        "previous.ckpt",
        "last.safetensors",
        "best.safetensors",
    }
    results = json.loads((result.out / "results.json").read_text())
    wanted = {"command", "protocol", "metrics", "seed", "data", "versions", "duration_s", "clouds_per_s", "batch_norm"}
    assert set(results) == wanted | {"parameters"}
    assert results["data"] == {"name": "shapes", "fingerprint": open_dataset(dataset).fingerprint, "lives_on": "host"}
    assert results["protocol"] == "standard"
    assert results["clouds_per_s"] > 0
    settings = yaml.safe_load((result.out / "config.yaml").read_text())
    assert settings["data"]["root"] == str(dataset)
    assert settings["trainer"]["epochs"] == 2
    model = load(result.best)
    assert model.meta["classes"] == ["ball", "box", "rod"]
    assert model.meta["points"] == 64
    assert model.meta["settings"]["autoencoder"]["patches"] == 8


def test_best_is_the_lowest_chamfer(stage1: Any, tmp_path: Path) -> None:
    result = stage1(tmp_path / "run", epochs=3)
    rows = (result.out / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val_cd_l1")
    values = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(values) == 3
    assert load(result.best).meta["val_cd_l1"] == pytest.approx(min(values), rel=1e-6)


def test_stage2_learns_and_probes(stage2: Any, tmp_path: Path) -> None:
    result = stage2(tmp_path / "run", epochs=6)
    rows = (result.out / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert losses[-1] < 0.7 * losses[0]
    assert 0 <= result.metrics["probe"] <= 100
    student = load(result.last).model
    assert student.embed(student.patchify(torch.rand(2, 64, 3))).shape == (2, 32)


@pytest.mark.parametrize("kind", ["cosine", "l2", "smooth_l1", "ntxent", "barlow"])
@pytest.mark.parametrize("mask", ["random", "block"])
def test_stage2_takes_every_loss_and_mask(dataset: Path, teacher_run: Path, kind: Any, mask: Any) -> None:
    assert_trains(dataset, teacher_run, kind=kind, mask_kind=mask)


@pytest.mark.parametrize("options", [{"ratio": 0.0}, {"cls_loss": True}, {"embed_visible_only": True}])
def test_stage2_variants_train(dataset: Path, teacher_run: Path, options: dict[str, Any]) -> None:
    assert_trains(dataset, teacher_run, **options)


def assert_trains(
    dataset: Path,
    teacher_run: Path,
    kind: Any = "cosine",
    mask_kind: Any = "random",
    ratio: float = 0.5,
    cls_loss: bool = False,
    embed_visible_only: bool = False,
) -> None:
    """The loss of one batch is finite and reaches the student, and only the student."""
    from act3d.models.student import Student
    from act3d.recipes.act import ActPretraining
    from act3d.settings.training import LossConfig, MaskConfig, ProbeConfig, TeacherConfig

    found = load(teacher_run, expect=Autoencoder)
    teacher = found.model
    student = Student(8, 8, 16, 2, 2, 0.0, 1, 2, teacher.teacher_width, cls_loss, 1, embed_visible_only)
    data = DataConfig(root=str(dataset), points=64, val_split="none")
    settings = settings_of(
        data=data,
        teacher=TeacherConfig(),
        mask=MaskConfig(ratio=ratio, kind=mask_kind),
        loss=LossConfig(kind=kind, cls_loss=cls_loss),
        probe=ProbeConfig(),
    )
    clouds = open_clouds(data, 0).train
    recipe = ActPretraining(settings, student, clouds, teacher=found)
    batch = clouds.fetch([0, 1, 2, 3])
    loss = recipe.losses(batch["points"], batch, 0)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    gradient = student.head.weight.grad
    assert gradient is not None
    assert bool(gradient.abs().sum() > 0)
    assert not teacher.training


def test_a_hardly_used_codebook_is_counted_and_warned_of(
    stage1: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = stage1(tmp_path / "run", epochs=1)
    assert load(result.last, expect=Autoencoder).model.codes == 16
    used = result.metrics["val_codes"]
    assert 1 <= used <= 16
    warned = "codes: this teacher has learned next to nothing" in capsys.readouterr().err
    assert warned == (used < 8)


def test_a_floor_of_steps_makes_a_run_longer(stage1: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = stage1(tmp_path / "run", epochs=1, min_steps=7)  # three steps an epoch
    assert (result.metrics["epochs"], result.metrics["steps"]) == (3, 9)
    assert "autoencode: trainer.min_steps: 3 epochs instead of 1, for 7 steps" in capsys.readouterr().err
    assert stage1(tmp_path / "run", epochs=1, min_steps=7, resume=True).metrics == result.metrics


def test_a_ceiling_of_steps_makes_a_run_shorter(
    stage1: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = stage1(tmp_path / "run", epochs=9, step_ceiling=7)  # three steps an epoch
    assert (result.metrics["epochs"], result.metrics["steps"]) == (2, 6)
    assert "autoencode: trainer.step_ceiling: 2 epochs instead of 9, for 7 steps" in capsys.readouterr().err
    again = stage1(tmp_path / "run", epochs=9, step_ceiling=7, resume=True)
    assert again.metrics == result.metrics
    assert "is finished (2 epochs, 6 steps); to train longer, raise --trainer.epochs and --trainer.step_ceiling" in (
        capsys.readouterr().err
    )

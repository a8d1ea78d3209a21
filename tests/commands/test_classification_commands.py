"""evaluate, fewshot, compare and check-data, end to end on tiny clouds and released layouts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act3d import checkpoints
from act3d.cli import main
from act3d.commands.compare import compare
from act3d.commands.evaluate import evaluate
from act3d.commands.fewshot import fewshot
from act3d.data import open_dataset
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.models.classifier import Classifier
from act3d.models.student import Student
from act3d.recipes import fewshot as fewshot_recipe
from act3d.settings.data import EvaluationData
from act3d.settings.tasks import ClassifierConfig, FewShotConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from act3d.tables import trained_text
from tests.command_line import settings_of_words
from tests.fixtures import released_layouts as layouts
from tests.fixtures.packed import CLASSES, write_dataset

SMALL = ClassifierConfig(patches=8, patch_size=8, width=16, depth=1, heads=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "shapes", per_class=16)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    model = Classifier(3, 8, 8, 16, 1, 2)
    meta = {"classes": CLASSES, "points": 64, "normalization": "unit_sphere", "protocol": "standard", "seed": 4}
    return checkpoints.save(model, tmp_path_factory.mktemp("model") / "c.safetensors", meta)


def test_evaluate(root: Path, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "test"
    words = ["evaluate", str(classifier), "--data.root", str(root), "--out", str(out), "--device", "cpu"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "shapes (test), 12 clouds of 64 points" in printed.out
    assert f"trained under protocol standard, data {open_dataset(root).fingerprint}" in printed.out
    assert "parameters trained" in printed.out
    assert printed.err == f"next: act3d compare {out}\n"  # and no warning
    found = json.loads((out / "results.json").read_text())
    confusion = np.array(found["metrics"]["confusion"])
    assert confusion.sum() == 12
    assert found["metrics"]["oa"] == pytest.approx(100 * confusion.trace() / 12)
    assert found["protocol_name"] == "standard"
    rows = (out / "confusion.csv").read_text().splitlines()
    assert rows[0] == "true class,ball,box,rod"
    assert [int(n) for n in rows[1].split(",")[1:]] == confusion[0].tolist()
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "confusion.html").read_text(encoding="utf-8")
    assert page.count("<figure data-together") == 12 - confusion.trace()
    for truth, predicted in zip(*np.nonzero(confusion - np.diag(confusion.diagonal())), strict=True):
        assert f'<a href="#of-{truth}-{predicted}">{confusion[truth, predicted]}</a>' in page
        assert page.count(f'id="of-{truth}-{predicted}"') == 1
    assert main(words) == 2
    assert "holds results already" in capsys.readouterr().err


def test_one_fixed_vote(root: Path, classifier: Path) -> None:
    data = EvaluationData(root=str(root), batch_size=5)
    first, again = (evaluate(str(classifier), data=data, votes=3, device="cpu") for _ in range(2))
    assert np.array_equal(first.scores.confusion, again.scores.confusion)
    model, seen = checkpoints.load(classifier).model, []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    from act3d.evaluation.classification import vote

    clouds = open_dataset(root, "test")
    logits = vote(model, clouds, 64, votes=3, batch_size=100)
    assert len(seen) == 3
    assert not torch.equal(seen[0].centers, seen[1].centers)
    mean = torch.stack([model(patches) for patches in seen[:3]]).mean(0)
    assert torch.allclose(logits, mean, atol=1e-6)
    assert not torch.equal(logits, vote(model, clouds, 64, votes=3, batch_size=100, seed=1))


def test_evaluate_warns_and_refuses(
    root: Path, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluate(str(classifier), data=EvaluationData(root=str(root), points=100, normalize="none"), device="cpu")
    assert report.warnings == [
        "100 points a cloud; the model was trained with 64",
        "normalization 'none'; the model was trained with 'unit_sphere'",
    ]
    assert "warning: 100 points" in capsys.readouterr().err
    with pytest.raises(
        CheckpointError, match=r"knows 3 classes, sample has 16; only in the model: ball, box, rod; only"
    ):
        evaluate(str(classifier), data={"root": "sample"}, device="cpu")
    with pytest.raises(ConfigError, match=r"data\.root: missing; the checkpoint does not say"):
        evaluate(str(classifier), device="cpu")
    finer = evaluate(str(classifier), data=EvaluationData(root=str(root)), patches=12, device="cpu")
    assert finer.scores.confusion.sum() == 12
    with pytest.raises(ConfigError, match="votes: -1"):
        evaluate(str(classifier), votes=-1)
    student = Student(8, 8, 16, 1, 2, decoder_heads=2)
    other = checkpoints.save(student, tmp_path / "s.safetensors")
    with pytest.raises(CheckpointError, match="holds a student, not a classifier or segmenter"):
        evaluate(str(other))


def run_fewshot(root: Path, out: Path, resume: bool = False, **more: Any) -> Any:
    settings: dict[str, Any] = {
        "data": DataConfig(root=str(root), points=48, batch_size=4, augment="scale_shift"),
        "classifier": SMALL,
        "optim": OptimConfig(lr=2e-3, warmup_epochs=0),
        "trainer": TrainerConfig(epochs=2, accelerator="cpu"),
        "tasks": FewShotConfig(ways=[2, 3], shots=[2], folds=[0, 1], queries=4),
    }
    return fewshot(**{**settings, **more}, out=str(out), resume=resume)


def test_fewshot_on_a_packed_dataset(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_fewshot(root, tmp_path / "whole").metrics["settings"]
    assert list(whole) == ["2w2s", "3w2s"]
    assert whole["3w2s"]["mean"] == pytest.approx(np.mean(list(whole["3w2s"]["folds"].values())))
    assert whole["3w2s"]["std"] == pytest.approx(np.std(list(whole["3w2s"]["folds"].values()), ddof=1))
    found = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert found["protocol"] == "standard"
    assert found["data"]["fingerprint"] == open_dataset(root).fingerprint
    fold = json.loads((tmp_path / "whole" / "folds" / "2w2s-1.json").read_text())
    assert (fold["train_shapes"], fold["test_shapes"]) == (4, 8)
    assert fold["batch_norm"] == "averaged over the training clouds; 2 steps are too few for running averages"
    assert found["batch_norm"].startswith("averaged over the training clouds")
    # It goes on where it stopped, with the same numbers.
    inner, ran = fewshot_recipe.run_fold, []

    def stop(*given: Any) -> Any:
        ran.append(given[-2:])
        if len(ran) == 3:
            raise KeyboardInterrupt
        return inner(*given)

    monkeypatch.setattr(fewshot_recipe, "run_fold", stop)
    with pytest.raises(KeyboardInterrupt):
        run_fewshot(root, tmp_path / "parts")
    resumed = run_fewshot(root, tmp_path / "parts", resume=True).metrics["settings"]
    assert ran[2:] == [("3w2s", 0), ("3w2s", 0), ("3w2s", 1)]
    assert resumed == whole
    settings = (tmp_path / "parts" / "config.yaml").read_text()
    with pytest.raises(ConfigError, match="run with other settings"):
        run_fewshot(root, tmp_path / "parts", resume=True, optim=OptimConfig(lr=1e-3, warmup_epochs=0))
    assert (tmp_path / "parts" / "config.yaml").read_text() == settings
    with pytest.raises(InputError, match=r"needs 4 classes with 2 training shapes .* there are 3; --tasks"):
        run_fewshot(root, tmp_path / "more", tasks=FewShotConfig(ways=[4], shots=[2], queries=4))


def test_the_share_of_trained_parameters_is_said() -> None:
    assert trained_text({"trained": 36_864, "all": 2_369_170}) == "36.9 k of 2.37 M parameters trained"
    assert trained_text(None) == ""


def test_fewshot_on_released_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = layouts.fewshot(tmp_path, folds=2, points=64, test=2)
    only = FewShotConfig(ways=[5], shots=[10], folds=[0, 1], keep_weights=True)
    trainer = TrainerConfig(epochs=1, accelerator="cpu")
    result = run_fewshot(base, tmp_path / "run", tasks=only, protocol="legacy", trainer=trainer)
    assert list(result.metrics["settings"]["5w10s"]["folds"]) == ["0", "1"]
    said = " ".join(capsys.readouterr().out.split())
    assert "ACT 96.8±2.3" in said
    counts = json.loads((tmp_path / "run" / "results.json").read_text())["parameters"]
    assert f"{trained_text(counts)}, % right" in said
    assert checkpoints.load(tmp_path / "run" / "checkpoints" / "5w10s-1.safetensors").model.classes == 5


def fake_run(folder: Path, seed: int, oa: float, **more: Any) -> Path:
    folder.mkdir(parents=True)
    results = {
        "command": "finetune", "protocol": "standard", "protocol_name": "standard (last)",
        "metrics": {"oa": oa, "macc": oa - 2},
        "seed": seed, "data": {"name": "scanobjectnn-hardest", "fingerprint": "abc"}, "transfer": "full",
        "start": {"kind": "student", "checkpoint": f"runs/{seed}"}, "points": 2048,
    } | more  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(f"out: {folder}\nseed: {seed}\noptim:\n  lr: 0.0005\n")
    return folder


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, oa in enumerate((85.0, 86.0, 88.0)):
        fake_run(tmp_path / f"act-{seed}", seed, oa)
    fake_run(tmp_path / "scratch", 0, 80.0, start={"kind": "scratch"})
    legacy = {"protocol": "legacy", "protocol_name": "legacy (best on test)"}
    fake_run(tmp_path / "old", 0, 90.0, **legacy)
    assert (
        main(
            [
                "compare",
                f"{tmp_path}/act-*",
                str(tmp_path / "scratch"),
                str(tmp_path / "old"),
                "--out",
                str(tmp_path / "t.json"),
            ]
        )
        == 0
    )
    rows = [row for row in json.loads((tmp_path / "t.json").read_text()) if row["metric"] == "oa"]
    assert [(row["row"], row["mean"], row["spread"], row["best"]) for row in rows] == [
        ("ACT full", 86.33, 1.53, 88.0),
        ("scratch full", 80.0, None, 80.0),
        ("ACT full", 90.0, None, 90.0),
    ]
    assert [row["protocol"] for row in rows] == ["standard (last)"] * 2 + ["legacy (best on test)"]
    assert rows[0]["published"] == {"Point-MAE": "85.18", "ACT": "88.21", "ReCon": "91.26"}
    printed = capsys.readouterr().out
    assert "Point-MAE 85.18, ACT 88.21, ReCon 91.26" in printed
    frozen = compare([str(fake_run(tmp_path / "linear", 0, 70.0, transfer="linear"))], metrics=["oa"])
    probed = compare([str(fake_run(tmp_path / "probe", 0, 60.0, command="probe", transfer=""))], metrics=["oa"])
    assert probed[0].name == "ACT probe"
    assert frozen[0].published == probed[0].published == {}  # published numbers are of full fine-tuning
    compare([f"best={tmp_path}/act-*"], metrics=["oa"], out=str(tmp_path / "t.md"))
    assert "| best | oa | 86.33 | 1.53 | 88.00 | 3 |  | scanobjectnn-hardest | abc |" in (tmp_path / "t.md").read_text()


def test_compare_scenes(tmp_path: Path) -> None:
    about = {"command": "segment", "metrics": {"miou": 60.0}, "data": {"name": "s3dis", "fingerprint": "abc"}}
    for area, beside in ((5, {"ACT": "61.2"}), (1, {})):
        run = fake_run(tmp_path / str(area), 0, 0.0, **about, transfer="", test_rooms=[f"Area_{area}_office_1"])
        (row,) = compare([str(run)], metrics=["miou"])
        assert row.published == beside


def test_compare_shows_what_each_run_has(tmp_path: Path) -> None:
    other: dict[str, Any] = {"start": None, "transfer": ""}
    for seed, value in enumerate((60.0, 70.0)):
        metrics = {"probe": value, "epochs": 8, "steps": 200}
        folder = fake_run(tmp_path / f"stage2-{seed}", seed, 0.0, command="pretrain", metrics=metrics, **other)
        (folder / "config.yaml").write_text(f"seed: {seed}\nteacher:\n  checkpoint: runs/stage1-{seed}\n")
        lower = {"val_cd_l1": value, "val_cd_l2": 2 * value, "val_f_score": 0.1}
        fake_run(tmp_path / f"stage1-{seed}", seed, 0.0, command="autoencode", metrics=lower, **other)
    kinds = {
        "parts": {"instance_miou": 80.0, "class_miou": 70.0, "accuracy": 90.0},
        "scenes": {"oa": 80.0, "macc": 70.0, "miou": 60.0},
    }
    for name, metrics in kinds.items():
        data = {"name": name, "fingerprint": "abc"}
        fake_run(tmp_path / name, 0, 0.0, command="segment", metrics=metrics, data=data)
    rows = compare([f"{tmp_path}/{name}" for name in ("stage2-*", "stage1-*", *kinds)])
    assert [(row.metric, row.mean, row.best, row.seeds) for row in rows] == [
        ("probe", 65.0, 70.0, [0, 1]),  # one row: each seed has a teacher of its own
        ("val_cd_l1", 65.0, 60.0, [0, 1]),  # of errors the lowest is the best
        ("val_cd_l2", 130.0, 120.0, [0, 1]),
        ("class_miou", 70.0, 70.0, [0]),
        ("instance_miou", 80.0, 80.0, [0]),
        ("miou", 60.0, 60.0, [0]),
        ("macc", 70.0, 70.0, [0]),
        ("oa", 80.0, 80.0, [0]),
    ]
    with pytest.raises(InputError, match=r"has oa among its metrics; give --metrics some of: epochs, probe, steps"):
        compare([f"{tmp_path}/stage2-*"], metrics=["oa"])


def test_rows_of_one_name_say_what_tells_them_apart(tmp_path: Path) -> None:
    for head in ("words", "mlp3"):
        for seed in (0, 1):
            run = fake_run(tmp_path / f"{head}-{seed}", seed, 85.0)
            settings = (
                f"seed: {seed}\ncheckpoint: runs/{seed}\ndata: {{root: /disk{seed}}}\nclassifier: {{head: {head}}}\n"
            )
            (run / "config.yaml").write_text(settings)
    fake_run(tmp_path / "alone", 0, 85.0, data={"name": "other", "fingerprint": "abc"})
    rows = compare([f"{tmp_path}/*"], metrics=["oa"])
    assert [(row.name, row.dataset, row.seeds) for row in rows] == [
        ("ACT full", "other", [0]),
        ("ACT full (classifier.head mlp3)", "scanobjectnn-hardest", [0, 1]),
        ("ACT full (classifier.head words)", "scanobjectnn-hardest", [0, 1]),
    ]
    for seed in range(2):
        fake_run(tmp_path / f"voted-{seed}", seed, 85.0, command="evaluate")
    with pytest.raises(InputError, match="mix commands"):
        compare([f"all={tmp_path}/mlp3-0,{tmp_path}/voted-1"])
    names = [row.name for row in compare([f"{tmp_path}/voted-*", f"{tmp_path}/mlp3-*"], metrics=["oa"])]
    assert names == ["ACT full (evaluate)", "ACT full (finetune)"]


def write_quickstart(folder: Path, **more: Any) -> str:
    values = {"pretrained": [70.0, 74.0], "random": [60.0, 61.0]}
    about: dict[str, Any] = {"command": "quickstart", "protocol": "standard", "seed": [0, 1], "per_seed": values}
    about |= {"data": {"name": "sample", "fingerprint": "abc"}, "metrics": {"oa": 72.0}, **more}
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(about))
    return str(folder)


def test_compare_takes_a_quickstart(tmp_path: Path) -> None:
    rows = compare([write_quickstart(tmp_path)])
    assert [(row.name, row.metric, row.values, row.seeds) for row in rows] == [
        ("quickstart", "pretrained", [70.0, 74.0], [0, 1]),
        ("quickstart", "random", [60.0, 61.0], [0, 1]),
    ]


@pytest.mark.parametrize(
    "damage",
    [{"per_seed": {"pretrained": [1.0]}}, {"per_seed": 3}, {"seed": None}, {"seed": [0]}, {"seed": ["a", "b"]}],
)
def test_a_damaged_quickstart_is_named(tmp_path: Path, damage: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"results\.json is damaged"):
        compare([write_quickstart(tmp_path, **damage)])


def test_compare_refuses_to_mix(tmp_path: Path) -> None:
    a = fake_run(tmp_path / "a", 0, 85.0)
    b = fake_run(tmp_path / "b", 1, 85.0, protocol="legacy", protocol_name="legacy (best on test)")
    c = fake_run(tmp_path / "c", 1, 85.0, data={"name": "scanobjectnn-hardest", "fingerprint": "other"})
    d = fake_run(tmp_path / "d", 0, 86.0)
    for run, what in (
        (b, r"mix protocols: legacy \(best on test\), standard"),
        (c, "mix datasets"),
        (d, "seed 0 more than"),
    ):
        with pytest.raises(InputError, match=what):
            compare([f"mine={a},{run}"])
    with pytest.raises(InputError, match="no such run"):
        compare([str(tmp_path / "nothing-*")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not finished"):
        compare([str(tmp_path / "empty")])


def test_check_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.scanobjectnn(tmp_path, points=32)
    layouts.modelnet40_cache(tmp_path, points=32)
    layouts.fewshot(tmp_path, points=16, test=2)
    assert main(["check-data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "ScanObjectNN, hardest\n  train: 30 clouds of 32 points, 15 classes" in printed
    assert "ModelNet40\n  train: 12 clouds of 32 points, 3 classes\n    airplane 4, bathtub 4, night_stand 4" in printed
    assert "5-way 10-shot, 10 folds of 50 + 10 shapes: 60 clouds of 16 points" in printed
    assert printed.count("fingerprint: ") == 3
    layouts.truncate(tmp_path / "ScanObjectNN" / "main_split" / "test_objectdataset_augmentedrot_scale75.h5")
    assert main(["check-data", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "  problem: " in printed.out
    assert printed.err.strip().endswith("1 problem found")


def test_settings_of_released_recipes() -> None:
    found = settings_of_words("finetune", "--config", "act/finetune-scan-hardest", "--config", "act/finetune-mlp3")
    assert (found.data.points, found.data.augment, found.data.batch_size) == (2048, "rotate_y", 32)
    assert (found.classifier.patches, found.classifier.transfer) == (128, "mlp3")
    assert (found.optim.lr, found.optim.weight_decay, found.optim.clip) == (1e-3, 0.05, 10)
    assert (found.trainer.epochs, found.optim.warmup_epochs) == (300, 10)
    large = settings_of_words("finetune", "--config", "act/finetune-modelnet-8k")
    assert (large.data.points, large.classifier.patches, large.data.augment) == (8192, 512, "scale_shift")
    few = settings_of_words("fewshot", "--config", "act/fewshot")
    assert (few.trainer.epochs, few.tasks.ways, few.tasks.shots) == (150, [5, 10], [10, 20])
    assert few.tasks.model_copy(update={"folds": [1]}).folds == [1]
    assert settings_of_words("fewshot", "--tasks.folds", "0,3").tasks.folds == [0, 3]


def test_compare_few_shot_runs(tmp_path: Path) -> None:
    for seed, mean in enumerate((90.0, 92.0)):
        settings = {"5w10s": {"mean": mean, "std": 2.0, "folds": {"0": mean}}}
        data = {"name": "modelnet40-fewshot", "fingerprint": "abc"}
        fake_run(tmp_path / f"run-{seed}", seed, 0.0, command="fewshot", metrics={"settings": settings}, data=data)
    (row,) = compare([f"{tmp_path}/run-*"])
    assert (row.name, row.mean, row.seeds) == ("ACT full 5w10s", 91.0, [0, 1])
    assert row.published["ReCon"] == "97.3±1.9"


def test_probe_takes_point_mae(root: Path, tmp_path: Path) -> None:
    from act3d.commands.probe import probe
    from act3d.models.point_mae import PointMAE
    from act3d.settings.data import ProbeData
    from act3d.use.probing import probe_checkpoint

    model = PointMAE(8, 8, 16, 1, 2, decoder_heads=2)
    path = checkpoints.save(model, tmp_path / "mae.safetensors", {"points": 64})
    data = ProbeData(root=str(root))
    report = probe_checkpoint(str(path), data, device="cpu")
    assert 0 <= report.metrics["pretrained"]["linear"] <= 100
    # Probes of two methods are two rows, with what the same encoder does without pretraining.
    other = checkpoints.save(Student(8, 8, 16, 1, 2, decoder_heads=2), tmp_path / "s.safetensors", {"points": 64})
    for number, checkpoint in enumerate((path, other)):
        probe(str(checkpoint), data=data, out=str(tmp_path / f"probe-{number}"), device="cpu")
    rows = compare([f"{tmp_path}/probe-*"], metrics=["oa", "random"])
    assert [(row.name, row.metric) for row in rows] == [
        (name, metric) for name in ("Point-MAE probe", "ACT probe") for metric in ("oa", "random")
    ]
    assert rows[0].values == [report.metrics["pretrained"]["linear"]]


def test_probe_defaults_to_the_runs_own_data(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from act3d.commands.probe import probe

    meta = {"points": 64, "settings": {"data": {"root": str(root)}}}
    path = checkpoints.save(Student(8, 8, 16, 1, 2, decoder_heads=2), tmp_path / "s.safetensors", meta)
    report = probe(str(path), device="cpu")
    assert report.data["name"] == "shapes"
    assert f"note: data: {root}, which the model was trained on" in capsys.readouterr().err
    assert repr(report).startswith("<ProbeReport of a student on shapes, linear SVM: pretrained ")
    assert [row["features"] for row in report.table().records()] == ["pretrained", "random", "data_dependent", "plain"]
    assert "<td>data_dependent</td>" in report._repr_html_()


def test_results_show_themselves(root: Path, classifier: Path, tmp_path: Path) -> None:
    report = evaluate(str(classifier), data=EvaluationData(root=str(root)), device="cpu")
    assert repr(report).startswith("<EvaluationReport on shapes (test): OA ")
    assert [row["class"] for row in report.table().records()] == ["ball", "box", "rod"]
    fake_run(tmp_path / "a", 0, 80.0)
    rows = compare([str(tmp_path / "a")])
    assert repr(rows).startswith("<Comparison of 2 rows: ACT full oa 80.00, ACT full macc 78.00")
    assert rows.table().records()[0]["published"] == "Point-MAE 85.18, ACT 88.21, ReCon 91.26"
    assert "<td>80.00</td>" in rows._repr_html_()


def test_results_of_earlier_versions_are_compared(tmp_path: Path) -> None:
    old = {"oa": 70.0, "macc": 70.0, "knn": 60.0, "untaught": 50.0, "untaught_knn": 40.0, "fitted": 55.0}
    new = {"oa": 70.0, "random": 52.0, "data_dependent": 57.0}
    fake_run(tmp_path / "a", 0, 0.0, command="probe", metrics=old)
    fake_run(tmp_path / "b", 1, 0.0, command="probe", metrics=new)
    rows = compare([f"{tmp_path}/*"], metrics=["random", "data_dependent"])
    assert [(row.metric, row.values) for row in rows] == [("random", [50.0, 52.0]), ("data_dependent", [55.0, 57.0])]
    assert [row.values for row in compare([f"{tmp_path}/*"], metrics=["untaught"])] == [[50.0, 52.0]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "not the result"),
        ('{"metrics": []}', "not the result"),
        ('{"metrics": {"oa": 1}, "seed": "x"}', "'seed' is str"),
        ('{"metrics": {"oa": 1}, "seed": [0, 1]}', "means over seeds"),
        ('{"metrics": {"oa": 1}, "data": []}', "'data' is list"),
        ('{"metrics": {"settings": {"5w10s": 3}}}', "have no means"),
    ],
)
def test_damaged_results_name_their_file(tmp_path: Path, damage: str, message: str) -> None:
    folder = fake_run(tmp_path / "a", 0, 80.0)
    (folder / "results.json").write_text(damage)
    with pytest.raises(InputError, match=r"results\.json") as caught:
        compare([str(folder)])
    assert message in str(caught.value)


@pytest.mark.parametrize("damage", ["a: &a [*a]", "a: b: c", "- 1", "\x00"])
def test_damaged_settings_name_their_file(tmp_path: Path, damage: str) -> None:
    folder = fake_run(tmp_path / "a", 0, 80.0)
    (folder / "config.yaml").write_text(damage)
    with pytest.raises(InputError, match=r"config\.yaml"):
        compare([str(folder)])


def test_fewer_test_shapes_than_wanted(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = FewShotConfig(ways=[2], shots=[2], folds=[0], queries=20)
    result = run_fewshot(root, tmp_path / "run", tasks=only)
    printed = capsys.readouterr()
    assert "note: tasks have 4 test shapes a class, not 20: shapes has no more for 2 classes; --tasks.queries 4" in (
        printed.err
    )
    assert json.loads((tmp_path / "run" / "results.json").read_text())["data"]["folds"].endswith(
        "4 test shapes a class"
    )
    # One fold has no spread.
    assert result.metrics["settings"]["2w2s"]["std"] is None
    (line,) = (line for line in printed.out.splitlines() if line.startswith("2w2s"))
    assert line.split()[2:] == ["1"]


def test_check_data_ends_with_what_to_do(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from act3d.commands.check_data import check_data

    check_data(root="sample")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "prepared dataset, sample: usable, 640 clouds in train, test, 16 classes; use it by: act3d autoencode "
        "--data.root sample"
    )
    layouts.scanobjectnn(tmp_path, per_class=1, points=16, only=("hardest", "objbg"))
    check_data(root=str(tmp_path))
    ends = [line.rpartition("act3d ")[2] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert ends == [f"finetune --data.root {tmp_path} --data.subset {name}" for name in ("hardest", "objbg")]


def test_released_classifiers_of_scans_take_clouds_as_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from act3d.evaluation import classification

    layouts.scanobjectnn(tmp_path, per_class=1, points=64)
    model = Classifier(15, 4, 8, 16, 1, 2)
    meta = checkpoints.released_meta(model, tmp_path / "scans.pth")
    assert (
        checkpoints.released_meta(Classifier(40, 4, 8, 16, 1, 2), tmp_path / "m.pth")["normalization"] == "unit_sphere"
    )
    path = checkpoints.save(model, tmp_path / "c.safetensors", meta)
    seen = []
    draw = classification.draw_test
    monkeypatch.setattr(classification, "draw_test", lambda points, count: seen.append(points) or draw(points, count))
    report = evaluate(str(path), data={"root": str(tmp_path)}, device="cpu")
    assert report.data["normalization"] == "none"
    assert report.warnings == []
    stored = open_dataset(tmp_path, "test", normalize="none").fetch(range(15))["points"]
    assert torch.equal(torch.cat(seen), stored)

"""Every classification command on every released layout: from files to a result, from broken files to one line."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from act3d import checkpoints
from act3d.cli import main
from act3d.data import scanobjectnn
from act3d.models.classifier import Classifier
from act3d.models.student import Student
from tests.fixtures import released_layouts as layouts
from tests.fixtures.packed import write_dataset

FAST = ["--trainer.accelerator", "cpu", "--trainer.fast_dev_run", "true", "--optim.warmup_epochs", "0"]
CUT = ["--data.points", "64", "--classifier.patches", "8", "--classifier.patch_size", "8"]
FEW = ["--tasks.ways", "2", "--tasks.shots", "1", "--tasks.folds", "0,1", "--tasks.queries", "1"]
SCANS = ("hardest", "objbg", "objonly")


def scans(root: Path, h5_files: bool = False) -> Path:
    return layouts.scanobjectnn(root, h5_files, points=96, only=SCANS)


def texts(root: Path) -> Path:
    return layouts.modelnet40(root, train=2, test=1, classes=layouts.CLASSES[:2])


def caches(root: Path) -> Path:
    return layouts.modelnet40_cache(root, points=96).parent


# Layout -> what writes it, the name of its data, and the options that choose a variant.
LAYOUTS: dict[str, tuple[Callable[[Path], Path], str, list[str]]] = {
    "packed": (lambda root: write_dataset(root / "shapes", 16), "shapes", []),
    "texts": (texts, "modelnet40", []),
    "caches": (caches, "modelnet40", []),
    "hardest": (scans, "scanobjectnn-hardest", ["--data.subset", "hardest"]),
    "objbg": (scans, "scanobjectnn-objbg", ["--data.subset", "objbg"]),
    "objonly in h5_files": (lambda root: scans(root, True), "scanobjectnn-objonly", ["--data.subset", "objonly"]),
}


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Student(8, 8, 16, 1, 2, decoder_heads=2)
    return checkpoints.save(model, tmp_path_factory.mktemp("student") / "s.safetensors", {"points": 64})


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_command_takes_every_layout(
    layout: str, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, name, subset = LAYOUTS[layout]
    root = write(tmp_path / "data")
    run, data = tmp_path / "run", ["--data.root", str(root), *subset]
    assert main(["check-data", str(root)]) == 0
    start = ["--checkpoint", str(student)]
    tuned = ["finetune", *data, *start, *CUT, *FAST, "--data.batch_size", "2"]
    assert main([*tuned, "--out", f"{run}/tuned"]) == 0
    assert main(["evaluate", f"{run}/tuned", *data, "--votes", "2", "--out", f"{run}/test"]) == 0
    assert main(["probe", str(student), *data, "--out", f"{run}/probe"]) == 0
    assert main(["draw-folds", *data, *FEW, "--out", f"{run}/folds"]) == 0
    assert main(["check-data", f"{run}/folds"]) == 0
    assert main(["fewshot", *data, *start, *CUT, *FAST, *FEW, "--out", f"{run}/few"]) == 0
    capsys.readouterr()
    assert (
        main(["compare", f"{run}/t*ed", f"{run}/test", f"{run}/probe", f"{run}/few", "--out", f"{run}/table.json"]) == 0
    )
    rows = json.loads((run / "table.json").read_text())
    assert {row["dataset"] for row in rows} == {name}
    assert [row["row"] for row in rows if row["metric"] == "oa"] == [
        "ACT full (finetune)",
        "ACT full 2 votes",
        "ACT probe",
        "ACT full (fewshot) 2w1s",
    ]
    marks = {results(run / folder)["data"]["fingerprint"] for folder in ("tuned", "test", "probe", "few")}
    assert len(marks) == 1  # of the data, whatever was done with it
    assert (run / "test" / "confusion.png").exists()


def test_released_folds(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = layouts.fewshot(tmp_path, settings=[(5, 10), (10, 20)], points=96, test=1)
    assert main(["check-data", str(root)]) == 0
    folds = ["--tasks.ways", "5", "--tasks.shots", "10", "--tasks.folds", "0,9"]
    words = ["fewshot", "--data.root", str(root), "--checkpoint", str(student), *CUT, *FAST, *folds]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "ACT 96.8±2.3" in capsys.readouterr().out
    found = results(tmp_path / "run")
    assert (found["data"]["name"], found["data"]["folds"]) == ("modelnet40-fewshot", "released")


# ---------------------------------------------------------------------- broken files


def scan_file(root: Path) -> Path:
    return scanobjectnn.file_of(layouts.scanobjectnn(root, points=96), "hardest", "train")


def scan_truncated(root: Path) -> str:
    layouts.truncate(scan_file(root))
    return "training_objectdataset_augmentedrot_scale75.h5 is damaged, cut off"


def scan_label(root: Path) -> str:
    layouts.write_h5(scan_file(root), np.ones((3, 96, 3)), np.array([0, 15, 200]))
    return "cloud 1 has label 15, outside 0..14"


def scan_nan(root: Path) -> str:
    layouts.write_h5(scan_file(root), np.full((2, 96, 3), np.nan), np.array([0, 1]))
    return "cloud 0 holds coordinates that are not finite"


def cache_file(root: Path, **more: bool) -> Path:
    return layouts.modelnet40_cache(root, points=96, **more) / "modelnet40_train_8192pts_fps.dat"


def cache_hostile(root: Path) -> str:
    layouts.hostile_pickle(cache_file(root), root / "ran")
    return "refused, the pickle asks for"


def cache_truncated(root: Path) -> str:
    layouts.truncate(cache_file(root))
    return "modelnet40_train_8192pts_fps.dat is damaged or cut off"


def cache_label(root: Path) -> str:
    cache_file(root, bad_label=True)
    return "cloud 0 has label 40, outside 0..2"


def cache_nan(root: Path) -> str:
    clouds = [np.full((96, 6), np.nan, dtype=np.float32)] * 3
    cache_file(root).write_bytes(pickle.dumps([clouds, [np.array([i], dtype=np.int32) for i in range(3)]]))
    return "holds coordinates that are not finite"


def text_nan(root: Path) -> str:
    (texts(root) / "airplane" / "airplane_0001.txt").write_text("0,0,nan,0,0,1\n" * 8192)
    return "airplane_0001.txt holds values that are not finite"


def text_truncated(root: Path) -> str:
    layouts.truncate(texts(root) / "airplane" / "airplane_0001.txt")
    return "airplane_0001.txt"


BAD_DATA = [
    scan_truncated, scan_label, scan_nan, cache_hostile, cache_truncated, cache_label, cache_nan, text_nan,
    text_truncated,
]  # fmt: skip


def ends_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail; its one line, with what check-data says on stdout."""
    capsys.readouterr()
    assert main(words) == 2, words
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if "making modelnet40" not in line]  # the progress bar
    assert line.startswith("act3d: error: ")
    return line + printed.out * (words[0] == "check-data")


@pytest.mark.parametrize("damage", BAD_DATA, ids=lambda damage: damage.__name__)
def test_broken_data_ends_in_one_line(
    damage: Callable[[Path], str], student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    message = damage(root)
    classes = 15 if damage.__name__.startswith("scan") else 3
    tuned = checkpoints.save(Classifier(classes, 8, 8, 16, 1, 2), tmp_path / "c.safetensors", {"points": 64})
    data = ["--data.root", str(next(root.iterdir()))]
    for words in (
        ["check-data", data[1]],
        ["finetune", *data, *CUT, *FAST],
        ["evaluate", str(tuned), *data],
        ["probe", str(student), *data],
        ["fewshot", *data, *CUT, *FAST, *FEW],
        ["draw-folds", *data, *FEW],
    ):
        out = [] if words[0] == "check-data" else ["--out", str(tmp_path / words[0])]
        if words[0] == "evaluate":
            words = [*words, "--data.split", "train"]
        assert message in ends_in_one_line([*words, *out], capsys)
        assert not (tmp_path / words[0]).exists()
    assert not (root / "ran").exists()


def fold_hostile(path: Path) -> str:
    layouts.hostile_pickle(path, path.parent / "ran")
    return "refused, the pickle asks for"


def fold_truncated(path: Path) -> str:
    layouts.truncate(path)
    return "0.pkl is damaged or cut off"


def fold_label(path: Path) -> str:
    path.write_bytes(pickle.dumps({"train": [(np.zeros((96, 3)), 7, 1)], "test": []}))
    return "label 7, outside 0..4"


def fold_nan(path: Path) -> str:
    triples = [(np.full((96, 3), np.nan, dtype=np.float32), label, label) for label in range(5)]
    path.write_bytes(pickle.dumps({"train": triples, "test": triples}))
    return "not finite"


@pytest.mark.parametrize("damage", [fold_hostile, fold_truncated, fold_label, fold_nan], ids=lambda d: d.__name__)
def test_broken_folds_end_in_one_line(
    damage: Callable[[Path], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = layouts.fewshot(tmp_path, folds=1, points=96, test=1)
    message = damage(root / "5way_10shot" / "0.pkl")
    one = ["--tasks.ways", "5", "--tasks.shots", "10", "--tasks.folds", "1"]
    for words in (
        ["check-data", str(root)],
        ["fewshot", "--data.root", str(root), "--out", str(tmp_path / "run"), *CUT, *FAST, *one],
    ):
        assert message in ends_in_one_line(words, capsys)
    assert not list(root.rglob("ran"))

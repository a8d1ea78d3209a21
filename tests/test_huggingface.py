"""Datasets to and from Hugging Face's `datasets`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act3d.data import open_dataset
from act3d.data.layouts import check_folder
from act3d.errors import InputError
from tests.fixtures.packed import CLASSES, write_dataset

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed: pip install datasets")
from act3d.huggingface import from_datasets, to_datasets  # noqa: E402 - where there is the package


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()


def _sorted(points: np.ndarray) -> np.ndarray:
    """Points of clouds (S, P, F), which no order belongs to, in one order."""
    return np.stack([cloud[np.lexsort(cloud.T)] for cloud in points])


def test_there_and_back_is_the_same_dataset(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "shapes", named="shelf/{}_{}")
    rows = to_datasets(root, tmp_path / "cache")
    assert {name: len(part) for name, part in rows.items()} == {"train": 18, "test": 6}
    assert rows["train"].features["label"].names == CLASSES
    rows.save_to_disk(tmp_path / "saved")
    report = from_datasets(datasets.load_from_disk(tmp_path / "saved"), tmp_path / "back")
    assert (report.clouds, report.failures) == (24, [])
    for split in ("train", "test"):
        ours, theirs = open_dataset(root, split), open_dataset(tmp_path / "back", split)
        assert (theirs.name, theirs.classes, theirs.names) == ("shapes", ours.classes, ours.names)
        assert theirs.labels.tolist() == ours.labels.tolist()
        every = np.arange(len(ours))
        assert np.array_equal(_sorted(theirs.read(every, 0)[0]), _sorted(ours.read(every, 0)[0]))
    assert [found.problems for found in check_folder(tmp_path / "back")] == [[]]
    again = from_datasets(datasets.load_from_disk(tmp_path / "saved"), tmp_path / "back")  # complete already
    assert again.fingerprint == report.fingerprint


def test_the_sample_keeps_its_table(tmp_path: Path) -> None:
    rows = to_datasets("sample", tmp_path / "cache")
    ours = open_dataset("sample", "test")
    from_datasets(datasets.DatasetDict({"test": rows["test"].select(range(8))}), tmp_path / "back")
    back = open_dataset(tmp_path / "back")
    columns, wanted = back.columns(), ours.columns()
    for name in ("name", "class", "cx", "scale", "family"):
        assert columns[name] == wanted[name][:8]
    about = json.loads((tmp_path / "back/dataset.json").read_text())
    assert (about["licence"], about["source_up"]) == (ours.meta["licence"], ours.meta["source_up"])


def test_rows_of_others(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    cloud = generator.random((40, 3)) * 5 + 100
    made = {
        "points": [cloud.tolist(), cloud[:7].tolist(), [[1.0, 2.0]], [[1.0, 1.0, 1.0]] * 9],
        "rgb": [[[255, 0, 127]] * 40, [[255, 0, 127]] * 7, [[0, 0, 0]], [[0, 0, 0]] * 9],
        "label": ["chair", None, "lamp", "lamp"],
        "maker": ["me", "you", "you", "you"],
    }
    report = from_datasets(datasets.Dataset.from_dict(made), tmp_path / "d", points=16, name="mine", licence="MIT")
    assert (report.clouds, [name for name, _ in report.failures]) == (2, ["train/2", "train/3"])
    assert "expected finite numbers (N, 3)" in report.failures[0][1]
    assert "its extent is zero" in report.failures[1][1]
    found = open_dataset(tmp_path / "d", channels=("rgb",))
    assert (found.names, found.classes) == (["train/0", "train/1"], ["chair", "lamp"])
    assert found.labels.tolist() == [0, -1]
    assert found.columns()["maker"] == ["me", "you"]
    points, _ = found.read(np.arange(2), 0)
    assert np.allclose(points[..., 3:], [1, -1, 0], atol=0.01)
    true = open_dataset(tmp_path / "d", normalize="none").read(np.arange(2), 0)[0]
    for i, whole in enumerate((cloud, cloud[:7])):
        distances = np.linalg.norm(true[i][:, None] - whole[None], axis=2).min(axis=1)
        assert distances.max() < 0.01
    assert len(np.unique(np.round(true[1], 2), axis=0)) == 7  # a cloud of few points repeats them


def test_parts_keep_their_names(tmp_path: Path) -> None:
    features = datasets.Features({
        "points": datasets.Array2D((12, 3), "float32"),
        "parts": datasets.Sequence(datasets.ClassLabel(names=["leg", "seat"])),
        "label": datasets.ClassLabel(names=["chair"]),
    })  # fmt: skip
    points = np.random.default_rng(0).random((2, 12, 3)).astype(np.float32)
    parts = (points[..., 0] > 0.5).astype(int)  # a part is a half
    rows = datasets.Dataset.from_dict({"points": list(points), "parts": parts.tolist(), "label": [0, 0]}, features)
    from_datasets(datasets.DatasetDict({"validation": rows}), tmp_path / "d")
    found = open_dataset(tmp_path / "d", "val", normalize="none")
    back, ids = found.read(np.arange(2), 0)
    assert found.parts == ["leg", "seat"]
    assert np.array_equal(ids, back[..., 0] > 0.5)
    again = to_datasets(tmp_path / "d", tmp_path / "cache")["val"]
    assert again.features["parts"].feature.names == ["leg", "seat"]


@pytest.mark.parametrize("made", [{"xyz": [[[0.0, 0, 0]]]}, {"points": [[[1.0, 2.0]]]}])
def test_rows_that_are_no_clouds(made: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"points: no such column; the rows have xyz|none of 1 files gave a cloud"):
        from_datasets(datasets.Dataset.from_dict(made), tmp_path / "d")
    assert not (tmp_path / "d").exists()

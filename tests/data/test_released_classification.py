"""ModelNet40, ScanObjectNN and few-shot folds in their released layouts, whole and broken."""

import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from act3d.data import fewshot, modelnet40, open_dataset, scanobjectnn
from act3d.data.layouts import check_folder
from act3d.errors import InputError
from act3d.geometry import farthest_point_sample
from act3d.samples import sample_root
from tests.fixtures import released_layouts as layouts


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ModelNet40's text files, with its caches built."""
    base = layouts.modelnet40(tmp_path_factory.mktemp("modelnet"))
    modelnet40.ModelNet40(base)
    return base


def test_modelnet40_from_text_and_cache(texts: Path) -> None:
    with (texts / "modelnet40_train_8192pts_fps.dat").open("rb") as file:
        clouds, labels = pickle.load(file)  # the released code reads it like this
    assert [cloud.shape for cloud in clouds] == [(8192, 6)] * 12
    assert clouds[0].dtype == np.float32
    assert labels[4].tolist() == [1]
    assert labels[4].dtype == np.int32
    rows = np.loadtxt(texts / "airplane" / "airplane_0001.txt", delimiter=",", dtype=np.float32)
    assert np.array_equal(np.sort(clouds[0], axis=0), np.sort(rows, axis=0))  # 8192 of 8192
    assert np.array_equal(clouds[0][0], rows[0])
    test = open_dataset(texts.parent.parent, "test")
    assert (len(test), test.points, test.classes) == (6, 8192, list(layouts.CLASSES))
    assert test.names[4] == "night_stand_0005"
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    points = test.fetch([0], 0)["points"]
    assert torch.allclose(points.norm(dim=2).amax(), torch.ones(()))
    assert torch.allclose(points.mean(dim=1), torch.zeros(1, 3), atol=1e-5)
    assert test.fingerprint == open_dataset(texts, "train").fingerprint
    both = open_dataset(texts, "train+test", points=100)
    assert len(both) == 18
    assert not torch.equal(both.fetch([3], 0)["points"], both.fetch([3], 1)["points"])


def test_fingerprint_is_of_both_splits_without_lists_as_well(tmp_path: Path) -> None:
    base = layouts.modelnet40_cache(tmp_path, 2, 1, points=32)
    marks = {open_dataset(base, split).fingerprint for split in ("train", "test", "train+test")}
    assert marks == {check_folder(base)[0].fingerprint}


def test_farthest_points_are_kept(tmp_path: Path) -> None:
    base = layouts.modelnet40(tmp_path, 1, 0, points=40)
    clouds = modelnet40.sample_shapes([base / "bathtub" / "bathtub_0001.txt"], 16)
    rows = torch.from_numpy(modelnet40.read_shape(base / "bathtub" / "bathtub_0001.txt"))
    picks = farthest_point_sample(rows[None, :, :3], 16)[0]
    assert torch.equal(torch.from_numpy(clouds[0]), rows[picks])


def test_cache_is_built_in_parallel_exactly_once(tmp_path: Path) -> None:
    base = layouts.modelnet40(tmp_path, 12, 1, points=20)  # three chunks
    serial = modelnet40.sample_shapes([base / c / f"{s}.txt" for c, s in modelnet40.listed(base, "train")], 16)
    code = (
        "import sys; from pathlib import Path; from act3d.data import modelnet40 as m\n"
        "if __name__ == '__main__':\n"
        "    built = []; inner = m._sample_all\n"
        "    m._sample_all = lambda *a: built.append(1) or inner(*a)\n"
        "    m.build_cache(Path(sys.argv[1]), 'train', 16, workers=2); print(len(built))\n"
    )
    script = tmp_path / "build.py"
    script.write_text(code)
    runs = [
        subprocess.Popen([sys.executable, str(script), str(base)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert sorted(int(run.communicate(timeout=120)[0]) for run in runs) == [0, 1]
    with (base / modelnet40.cache_name("train", 16)).open("rb") as file:
        clouds, _ = pickle.load(file)
    assert all(np.array_equal(a, b) for a, b in zip(clouds, serial, strict=True))


def test_a_killed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = layouts.modelnet40(tmp_path, 2, 1, points=20)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(modelnet40.pickle, "dump", die)
    with pytest.raises(KeyboardInterrupt):
        modelnet40.build_cache(base, "train", 16)
    assert not list(base.glob("*.dat")) + list(base.glob(".*tmp"))
    monkeypatch.undo()
    path = modelnet40.build_cache(base, "train", 16)
    before = path.stat().st_mtime_ns
    time.sleep(0.01)
    assert modelnet40.build_cache(base, "train", 16).stat().st_mtime_ns == before


def test_broken_modelnet40(tmp_path: Path) -> None:
    base = layouts.modelnet40(tmp_path / "a", 2, 1, points=20)
    (base / "bathtub" / "bathtub_0001.txt").unlink()
    with pytest.raises(InputError, match=r"bathtub_0001.txt is missing"):
        modelnet40.build_cache(base, "train", 16)
    (first, second) = check_folder(base)[0].problems  # of train and test: all of these are too short
    assert first.endswith("20 points of x, y, z, nx, ny, nz; 8192 are needed; 5 more of 6 listed shapes cannot be used")
    assert "airplane_0003.txt" in second
    (base / "bathtub" / "bathtub_0001.txt").write_text("1,2,nan,0,0,1\n" * 20)
    with pytest.raises(InputError, match="not finite"):
        modelnet40.build_cache(base, "train", 16)
    base = layouts.modelnet40_cache(tmp_path / "b", 2, 1, points=32, bad_label=True)
    with pytest.raises(InputError, match=r"train_8192pts_fps.dat: cloud 0 has label 40, outside 0..2"):
        open_dataset(base, "train")
    base = layouts.modelnet40_cache(tmp_path / "c", 2, 1, points=32)
    layouts.truncate(base / "modelnet40_train_8192pts_fps.dat")
    with pytest.raises(InputError, match="cut off"):
        open_dataset(base, "train")
    layouts.hostile_pickle(base / "modelnet40_test_8192pts_fps.dat", tmp_path / "ran")
    found = check_folder(base)[0]
    assert len(found.problems) == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("h5_files", [False, True])
def test_scanobjectnn(tmp_path: Path, h5_files: bool) -> None:
    layouts.scanobjectnn(tmp_path, h5_files, only=list(scanobjectnn.VARIANTS))
    with pytest.raises(InputError, match="hardest, objbg, objonly; choose one"):
        open_dataset(tmp_path, "train")
    for variant in scanobjectnn.VARIANTS:
        train = open_dataset(tmp_path, "train", subset=variant)
        assert (len(train), train.points, len(train.classes)) == (30, 2048, 15)
        assert train.name == f"scanobjectnn-{variant}"
        assert train.meta["normalization"] == "none"
    points = train.fetch([0], 3)["points"]
    assert torch.equal(points, train.fetch([0], 0)["points"])  # all of them, in the stored order
    assert points.mean() > 0.1  # not centred
    marks = {found.variant: found.fingerprint for found in check_folder(tmp_path)}
    assert len(set(marks.values())) == 3
    assert marks["objonly"] == train.fingerprint


def test_broken_scanobjectnn(tmp_path: Path) -> None:
    root = layouts.scanobjectnn(tmp_path, points=64)
    train = scanobjectnn.file_of(root, "hardest", "train")
    good = train.read_bytes()
    layouts.truncate(train)
    with pytest.raises(InputError, match="damaged, cut off"):
        open_dataset(tmp_path, "train")
    train.write_bytes(good)
    clouds, labels = np.zeros((3, 8, 3)), np.array([0, 15, 200])
    layouts.write_h5(train, clouds, labels)
    with pytest.raises(InputError, match=r"cloud 1 has label 15, outside 0..14, and 1 more"):
        open_dataset(tmp_path, "train")
    clouds[2] = np.nan
    layouts.write_h5(train, clouds, labels % 15)
    with pytest.raises(InputError, match="cloud 2 holds coordinates that are not finite"):
        open_dataset(tmp_path, "train")
    (found,) = check_folder(tmp_path)
    assert "not finite" in found.problems[0]
    assert found.parts["test"].classes["toilet"] == 2
    train.unlink()
    assert "is missing" in check_folder(tmp_path)[0].problems[0]


def test_released_folds(tmp_path: Path) -> None:
    base = layouts.fewshot(tmp_path, settings=[(5, 10), (10, 20)], folds=2, points=40)
    fold = fewshot.read_fold(base, 10, 20, 1)
    assert (len(fold.train), len(fold.test), fold.train.points, len(fold.train.classes)) == (200, 200, 40, 10)
    assert np.bincount(fold.train.labels).tolist() == [20] * 10
    assert torch.allclose(fold.train.fetch([0])["points"].norm(dim=2).amax(), torch.ones(()))
    (found,) = check_folder(tmp_path)
    assert found.fingerprint == fold.train.fingerprint == fewshot.fingerprint(base)
    assert [problem.split("lacks folds ")[1] for problem in found.problems] == ["2, 3, 4, 5, 6, 7, 8, 9"] * 2
    layouts.hostile_pickle(base / "5way_10shot" / "0.pkl", tmp_path / "ran")
    with pytest.raises(InputError, match="refused"):
        fewshot.read_fold(base, 5, 10, 0)
    (base / "5way_10shot" / "1.pkl").write_bytes(pickle.dumps({"train": [(np.zeros((4, 3)), 7, 1)], "test": []}))
    with pytest.raises(InputError, match=r"label 7, outside 0..4"):
        fewshot.read_fold(base, 5, 10, 1)
    with pytest.raises(InputError, match="does not exist"):
        fewshot.read_fold(base, 5, 20, 0)


def test_folds_from_modelnet40(texts: Path, tmp_path: Path) -> None:
    train, test = open_dataset(texts, "train"), open_dataset(texts, "test")
    task = fewshot.make_fold(train, test, 2, 3, 0, queries=2)
    again = fewshot.make_fold(train, test, 2, 3, 0, queries=2)
    assert task.train.names == again.train.names
    others = [fewshot.make_fold(train, test, 2, 3, fold, queries=2).train.names for fold in range(1, 4)]
    assert any(names != task.train.names for names in others)
    assert set(task.train.names).isdisjoint(task.test.names)
    for clouds in task:
        kinds = [name.rpartition("_")[0] for name in clouds.names]
        assert [clouds.classes[label] for label in clouds.labels] == kinds
    assert np.bincount(task.test.labels).tolist() == [2, 2]
    path = fewshot.write_fold(tmp_path, task, 2, 3, 0)
    back = fewshot.read_fold(tmp_path, 2, 3, 0)
    assert path.name == "0.pkl"
    assert back.train.classes == task.train.classes
    assert torch.allclose(back.test.fetch([1])["points"], task.test.fetch([1], 0)["points"], atol=1e-6)
    with pytest.raises(InputError, match="needs 3 classes with 5 training and 2 test shapes; there are 0"):
        fewshot.make_fold(train, test, 3, 5, 0, queries=2)


def test_check_says_what_is_there(texts: Path, tmp_path: Path) -> None:
    (found,) = check_folder(texts)
    assert (found.dataset, found.problems, found.notes) == ("ModelNet40", [], [])
    assert found.parts["train"].classes == dict.fromkeys(layouts.CLASSES, 4)
    assert found.fingerprint == open_dataset(texts, "test").fingerprint
    only_text = layouts.modelnet40(tmp_path, 2, 1, classes=layouts.CLASSES[:2])
    (found,) = check_folder(only_text)
    assert found.problems == []
    assert "run makes it" in found.notes[0]
    assert (found.parts["train"].clouds, found.parts["train"].points) == (4, 8192)
    shape = only_text / "bathtub" / "bathtub_0002.txt"
    content = shape.read_bytes()
    for damaged, message in (
        (content[:-30], "cut off"),
        (content.replace(b"0.3", b"nan", 1), "not finite"),
        (content[: len(content) // 2], "cut off"),
    ):
        shape.write_bytes(damaged)
        (problem,) = check_folder(only_text)[0].problems
        assert "bathtub_0002.txt" in problem
        assert message in problem
    shape.unlink()
    assert check_folder(only_text)[0].problems == [f"{shape} is missing"]
    (sample,) = check_folder(sample_root())
    assert sample.problems == []
    assert sum(sample.parts["train"].classes.values()) == sample.parts["train"].clouds
    area = tmp_path / "stanford_indoor3d"
    area.mkdir()
    room = np.concatenate([np.random.default_rng(0).random((50, 6)), np.arange(50)[:, None] % 3], axis=1)
    np.save(area / "Area_1_office_1.npy", room)
    np.save(area / "Area_1_office_2.npy", room[:20])
    np.save(area / "Area_2_hallway_1.npy", room[:, :5])
    (found,) = check_folder(area)
    assert (found.dataset, found.variant, found.parts["Area_1"].clouds) == ("rooms", "s3dis", 2)
    assert found.parts["Area_1"].classes == {"ceiling": 24, "floor": 24, "wall": 22}
    assert "Area_2_hallway_1.npy has shape (50, 5)" in found.problems[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no dataset that act3d knows"):
        check_folder(tmp_path / "empty")


def write_link(file: h5py.File, other: Path) -> None:
    file["data"] = h5py.ExternalLink(str(other), "data")


def write_soft_link(file: h5py.File, other: Path) -> None:
    file["data"] = h5py.SoftLink("/label")


def write_external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("data", (8, 8, 3), dtype="f4", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def write_virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((8, 8, 3), dtype="f4")
    layout[:] = h5py.VirtualSource(str(other), "data", (8, 8, 3))
    file.create_virtual_dataset("data", layout)


def write_claim(file: h5py.File, other: Path) -> None:
    file.create_dataset("data", (10**6, 10**6, 3), dtype="f4", chunks=(1, 64, 3))


def write_texts(file: h5py.File, other: Path) -> None:
    file["data"] = ["a", "b"]


def write_group(file: h5py.File, other: Path) -> None:
    file.create_group("data")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_link, "not an array in the file itself but a ExternalLink"),
        (write_soft_link, "not an array in the file itself but a SoftLink"),
        (write_external_storage, "are in another file"),
        (write_virtual, "are in another file"),
        (write_claim, "claims 12000000000000 bytes"),
        (write_texts, "no numbers"),
        (write_group, "not an array in the file itself"),
        (lambda file, other: None, "holds no 'data'"),
    ],
)
def test_hdf5_that_reaches_out_or_claims_too_much(tmp_path: Path, write: Any, message: str) -> None:
    base = layouts.scanobjectnn(tmp_path, per_class=1, points=8)
    path = base / "main_split" / "training_objectdataset_augmentedrot_scale75.h5"
    with h5py.File(path, "w") as file:
        file["label"] = np.zeros(8, dtype=np.uint8)
        write(file, base / "main_split" / "test_objectdataset_augmentedrot_scale75.h5")
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(tmp_path, "train")
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_as_many_queries_as_there_are() -> None:
    train = np.repeat([0, 1, 2, 3, -1], [5, 5, 5, 2, 9])
    test = np.repeat([0, 1, 2, 3, -1], [7, 12, 3, 30, 9])
    assert fewshot.choose_queries(train, test, [2, 3], [1, 5], 20) == 3  # the third class of those with five shots
    assert fewshot.choose_queries(train, test, [2], [5], 20) == 7
    assert fewshot.choose_queries(train, test, [2], [5], 4) == 4
    assert fewshot.choose_queries(train, test, [1], [1], 20) == 20
    rows = fewshot.draw_fold(train, test, 3, 5, 0, queries=3)
    assert np.bincount(rows.test_labels).tolist() == [3, 3, 3]
    with pytest.raises(InputError, match=r"needs 4 classes with 5 training shapes .* there are 3; --tasks\.ways"):
        fewshot.choose_queries(train, test, [4], [5], 20)

"""`act3d prepare` on folders: layouts, damage, determinism, interruption."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import act3d
from act3d.commands.prepare import prepare
from act3d.data import open_dataset
from act3d.data.transforms import prepare_cloud
from act3d.errors import ConfigError, InputError
from act3d.prepare.folder import place_of, split_level
from tests.data.helpers import CUBE_VERTICES, write_obj


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Ten boxes in two classes, one more without a class, and things to leave alone."""
    root = tmp_path / "meshes"
    for i in range(5):
        write_obj(root / "flat" / f"{i}.obj", CUBE_VERTICES * [1, 0.1 + i / 100, 1])
        write_obj(root / "tall" / f"{i}.obj", CUBE_VERTICES * [1, 5 + i, 1])
    write_obj(root / "loose.obj")
    (root / "flat" / "notes.txt").write_text("not a mesh")
    write_obj(root / ".hidden" / "x.obj")
    return root


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_folder_with_classes(meshes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = prepare(meshes, tmp_path / "out", points=256, workers=1, unit="m", scale=0.5)
    assert summary.counts == {
        "flat": {"train": 4, "test": 1},
        "tall": {"train": 4, "test": 1},
        "": {"unlabeled": 1},
    }
    data = open_dataset(tmp_path / "out")
    assert sorted(data.names)[:2] == ["flat/0.obj", "flat/1.obj"]
    assert (data.meta["scale"], data.meta["unit"], data.meta["source_up"]) == (0.5, "m", "y")
    assert open_dataset(tmp_path / "out", "unlabeled").labels.tolist() == [-1]
    original = open_dataset(tmp_path / "out", normalize="none")
    points = original[original.names.index("tall/3.obj")]["points"]
    assert torch.allclose(points.amax(0), torch.tensor([0.5, 4.0, 0.5]), atol=0.02)
    printed = capsys.readouterr().out
    assert "11 clouds" in printed
    assert "1 files of other kinds" in printed


@pytest.mark.parametrize("layout", ["{split}/{cls}", "{cls}/{split}", "{split}/{cls}/deeper"])
def test_given_splits_are_kept(tmp_path: Path, layout: str) -> None:
    for cls, split, count in (("a", "train", 3), ("a", "test", 2), ("b", "Training", 1), ("b", "val", 1)):
        for i in range(count):
            write_obj(tmp_path / "in" / layout.format(cls=cls, split=split) / f"{split}{i}.obj")
    summary = prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
    assert summary.counts == {"a": {"train": 3, "test": 2}, "b": {"train": 1, "val": 1}}


@pytest.mark.parametrize(
    ("path", "level", "place"),
    [
        ("x.obj", None, ("", "")), ("a/x.obj", None, ("a", "")), ("a/b/c/x.obj", None, ("a", "")),
        ("test/x.obj", 0, ("", "test")), ("a/b/test/x.obj", None, ("a", "")), ("TRAIN/a/x.obj", 0, ("a", "train")),
        ("a/validation/x.obj", 1, ("a", "val")), ("train/x.obj", None, ("train", "")), ("a/x.obj", 1, ("a", "")),
    ],
)  # fmt: skip
def test_place_of(path: str, level: int | None, place: tuple[str, str]) -> None:
    assert place_of(Path(path), level) == place


@pytest.mark.parametrize(
    ("folders", "level"),
    [
        (["train/a", "test/a"], 0), (["a/train", "a/test", "b/val"], 1), (["a/train", "b"], 1), (["train"], 0),
        (["car", "bus", "train"], None), (["a/train", "a/car"], None), (["train/a", "test/b", "extra/c"], None),
        ([""], None), (["a/b/test"], None), (["Training/a", "TEST/b"], 0), (["train/train", "train/bus"], 0),
    ],
)  # fmt: skip
def test_a_level_is_of_splits_only_where_all_its_folders_are(folders: list[str], level: int | None) -> None:
    assert split_level([Path(folder).parts for folder in folders]) == level


def test_a_dataset_is_called_like_its_folder_however_that_is_typed(meshes: Path, tmp_path: Path) -> None:
    prepare(str(meshes / "flat" / ".."), out=str(tmp_path / "out"), workers=1)
    assert open_dataset(tmp_path / "out").name == meshes.name


def test_a_folder_without_classes(tmp_path: Path) -> None:
    for i in range(10):
        write_obj(tmp_path / "in" / f"{i}.obj", CUBE_VERTICES * [1, 1 + i, 1])
    summary = prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, test_fraction=0.3)
    assert summary.counts == {"": {"train": 7, "test": 3}}
    data = open_dataset(tmp_path / "out", "train")
    assert (data.classes, set(data.labels.tolist())) == ([], {-1})


def test_broken_files_are_listed_and_the_others_kept(meshes: Path, tmp_path: Path) -> None:
    broken = {
        "empty.obj": ("", "is empty"),
        "faceless.off": ("OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n", "no area"),
        "nan.obj": ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        "one.xyz": ("1 2 3\n", "single point"),
        "garbage.glb": ("garbage", "no readable glTF"),
        "lost.obj": ("v 0 0 0\nf 1 2 3\n", "outside"),
        "huge.xyz": ("1e300 0 0\n-1e300 0 0\n0 1e300 5\n", "finite"),
        "deep.wrl": ("#VRML V2.0 utf8\n" + "Group { children [" * 5000, "too deeply"),
    }
    for name, (text, _) in broken.items():
        (meshes / "tall" / name).write_text(text)
    (meshes / "tall" / "gone.obj").symlink_to(meshes / "nowhere.obj")
    broken["gone.obj"] = ("", "missing")
    summary = prepare(meshes, tmp_path / "out", points=8, workers=2)
    assert summary.clouds == 11
    reasons = dict(summary.failures)
    assert reasons.keys() == {f"tall/{name}" for name in broken}
    for name, (_, reason) in broken.items():
        assert any(word in reasons[f"tall/{name}"] for word in reason.split("|")), reasons
    with (tmp_path / "out" / "failures.csv").open() as file:
        assert [(row["name"], row["reason"]) for row in csv.DictReader(file)] == summary.failures


def test_columns_without_names_are_said_once(
    tmp_path: Path, classifier_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(4):
        rows = np.random.default_rng(i).random((40, 6))
        (tmp_path / "in" / f"{i}.xyz").write_text("\n".join(" ".join(map(str, row)) for row in rows))
    note = ".xyz files: 6 columns without names: the first three are taken for x, y and z"
    prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
    assert capsys.readouterr().out.count(note) == 1
    act3d.predict(str(tmp_path / "in"), checkpoint=str(classifier_file))
    assert capsys.readouterr().err.count(note) == 1


def test_nothing_to_prepare(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.txt").write_text("x")
    with pytest.raises(InputError, match="no mesh or point cloud"):
        prepare(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "x.obj").write_text("")
    with pytest.raises(InputError, match=r"none of 1 files.*is empty"):
        prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="does not exist"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match="source itself"):
        prepare(tmp_path / "in", tmp_path / "in")


@pytest.mark.parametrize("setting", [{"test_fraction": 1.0}, {"scale": 0.0}, {"workers": 0}, {"points": 0}])
def test_settings_out_of_bounds(meshes: Path, tmp_path: Path, setting: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        prepare(meshes, tmp_path / "out", **setting)


def test_bytes_depend_on_the_seed_and_not_on_the_workers(meshes: Path, tmp_path: Path) -> None:
    for name, seed, workers in (("one", 0, 1), ("three", 0, 3), ("other", 1, 1)):
        prepare(meshes, tmp_path / name, points=64, seed=seed, workers=workers)
    assert content(tmp_path / "one") == content(tmp_path / "three")
    assert content(tmp_path / "one")["points-00000.npy"] != content(tmp_path / "other")["points-00000.npy"]


def test_works_from_a_script_without_a_main_guard(meshes: Path, tmp_path: Path) -> None:
    prepare(meshes, tmp_path / "one", points=16, workers=1)
    code = (
        "import sys\nfrom pathlib import Path\nfrom act3d.commands.prepare import prepare\n"
        "prepare(Path(sys.argv[1]), Path(sys.argv[2]), points=16, workers=2)\n"
    )
    (tmp_path / "script.py").write_text(code)
    subprocess.run([sys.executable, tmp_path / "script.py", meshes, tmp_path / "two"], check=True, timeout=60)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path: Path, blow: signal.Signals) -> None:
    for i in range(400):
        write_obj(tmp_path / "in" / "abc"[i % 3] / f"{i}.obj", CUBE_VERTICES * [1, 1 + i / 100, 1])
    arguments = [str(tmp_path / "in"), str(tmp_path / "out")]
    code = (
        "import signal, sys, time; from pathlib import Path; from act3d.commands.prepare import prepare\n"
        # a test run started in the background hands down an ignored Ctrl-C
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import act3d.readers.engine as run; read = run.read_all\n"
        "run.read_all = lambda *tasks, **how: ((time.sleep(0.01), result)[1] for result in read(*tasks, **how))\n"
        "prepare(Path(sys.argv[1]), Path(sys.argv[2]), points=32, workers=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    partial = tmp_path / ".out.partial"
    while process.poll() is None and not list(partial.glob("rows-*.json")):
        time.sleep(0.01)
    process.send_signal(blow)
    process.wait(20)
    finished = {path.name: path.stat().st_mtime_ns for path in partial.glob("points-*.npy")}
    assert 0 < len(finished) < 4
    assert not (tmp_path / "out").exists()
    summary = prepare(tmp_path / "in", tmp_path / "out", points=32, workers=1)
    assert any("continued after" in note for note in summary.notes)
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == when for name, when in finished.items())
    prepare(tmp_path / "in", tmp_path / "whole", points=32, workers=1)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_doing_it_again_does_nothing_and_other_settings_are_refused(meshes: Path, tmp_path: Path) -> None:
    first = prepare(meshes, tmp_path / "out", points=16, workers=1)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = prepare(meshes, tmp_path / "out", points=16, workers=1)
    assert (again.fingerprint, again.counts) == (first.fingerprint, first.counts)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(InputError, match="--overwrite"):
        prepare(meshes, tmp_path / "out", points=32, workers=1)
    assert prepare(meshes, tmp_path / "out", points=32, workers=1, overwrite=True).clouds == 11
    assert open_dataset(tmp_path / "out").points == 32


def test_out_inside_the_source_is_not_read(meshes: Path) -> None:
    (meshes / "out").mkdir()
    assert prepare(meshes, meshes / "out", points=8, workers=1).clouds == 11
    again = prepare(meshes, meshes / "out", points=8, workers=1)
    assert any("already complete" in note for note in again.notes)


def test_inference_sees_the_frame_of_training(tmp_path: Path) -> None:
    # A pole along z with a knob at its top, prepared as z-up: the knob must end at the top of y, in both ways.
    rng = np.random.default_rng(0)
    pole = np.concatenate([rng.random((3000, 3)) * [0.01, 0.01, 4], rng.random((1000, 3)) * 0.1 + [0, 0, 4]])
    (tmp_path / "in").mkdir()
    for i in range(3):
        np.save(tmp_path / "in" / f"{i}.npy", pole)
    prepare(tmp_path / "in", tmp_path / "out", points=4000, workers=1, up="z", dtype="float32")
    data = open_dataset(tmp_path / "out")
    seen, worked = data[0]["points"], prepare_cloud(pole, data.meta)
    order = [cloud[:, 1].argsort() for cloud in (seen, worked)]
    assert torch.allclose(seen[order[0]], worked[order[1]], atol=1e-5)
    # The far end is the bottom: the mean lies near the knob.
    assert worked[:, 1].min() < -0.99
    assert worked[:, 1].max() < 0.8

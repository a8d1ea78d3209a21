"""Folders of strangers: links, splits that are classes, twins in two formats, far coordinates, names, hostile files."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from act3d.commands.prepare import prepare
from act3d.data import open_dataset
from act3d.data.packing import PackedWriter
from act3d.data.transforms import prepare_cloud
from act3d.errors import ConfigError, InputError
from act3d.files import one_writer
from act3d.readers import guarded
from act3d.readers.by_suffix import read_shape
from act3d.use.points import read_points
from tests.data.helpers import CUBE_TRIANGLES, CUBE_VERTICES, write_obj
from tests.readers.helpers import CASES, HOSTILE


def boxes(folder: Path, count: int = 4) -> Path:
    """Write a few boxes of different heights."""
    for i in range(count):
        write_obj(folder / f"{folder.name}{i}.obj", CUBE_VERTICES * [1, 1 + i, 1])
    return folder


def test_links_to_class_folders_are_followed_and_loops_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cls in ("chair", "table"):
        boxes(tmp_path / "real" / cls)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / cls).symlink_to(tmp_path / "real" / cls)
    boxes(tmp_path / "in" / "lamp")
    (tmp_path / "real" / "chair" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "lamp" / "self").symlink_to(tmp_path / "in" / "lamp")
    (tmp_path / "in" / "above").symlink_to(tmp_path)  # holds all that the other links lead to
    (tmp_path / "in" / "all").symlink_to(tmp_path / "real")
    (tmp_path / "in" / "a_lamp").symlink_to(tmp_path / "in" / "lamp")
    (tmp_path / "in" / "nowhere").symlink_to(tmp_path / "gone")
    summary = prepare(tmp_path / "in", tmp_path / "in" / "out", points=8, workers=1)
    assert {cls: sum(splits.values()) for cls, splits in summary.counts.items()} == {"chair": 4, "lamp": 4, "table": 4}
    printed = capsys.readouterr().out
    assert "a_lamp links to a folder that is read already" in printed
    assert "above links to a folder that it lies in: not followed" in printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_folders_that_may_not_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes(tmp_path / "in" / "a")
    boxes(tmp_path / "in" / "b").chmod(0)
    prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
    assert "b cannot be read: Permission denied" in capsys.readouterr().out


def test_many_folders_with_links_to_all_others_end(tmp_path: Path) -> None:
    for i in range(12):
        boxes(tmp_path / "in" / f"c{i}", 1)
    for i in range(12):
        for j in range(12):
            (tmp_path / "in" / f"c{i}" / f"to{j}").symlink_to(tmp_path / "in" / f"c{j}")
    assert prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1).clouds == 12


def test_a_class_called_train_is_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cls in ("bus", "car", "train"):
        boxes(tmp_path / "in" / cls)
    summary = prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
    assert summary.counts == {cls: {"train": 3, "test": 1} for cls in ("bus", "car", "train")}
    assert "train: taken for a class" in capsys.readouterr().out


def test_a_shape_in_two_formats_is_on_one_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trimesh = pytest.importorskip("trimesh")
    for cls in ("chair", "table"):
        for i in range(12):
            write_obj(tmp_path / "in" / cls / f"{i}.obj", CUBE_VERTICES * [1, 1 + i, 1])
            trimesh.Trimesh(CUBE_VERTICES * [1, 1 + i, 1], CUBE_TRIANGLES).export(tmp_path / "in" / cls / f"{i}.stl")
    summary = prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, test_fraction=0.25)
    sides = {split: set() for split in ("train", "test")}
    data = open_dataset(tmp_path / "out")
    for name, split in zip(data.names, data.split, strict=True):
        sides[split].add(name.rsplit(".", 1)[0])
    assert not sides["train"] & sides["test"]
    assert len(sides["test"]) == 6
    assert summary.clouds == 48
    assert "24 shapes come in several files (chair/0.obj and chair/0.stl)" in capsys.readouterr().out


def test_far_coordinates_keep_their_shape(tmp_path: Path) -> None:
    corner = np.array([500_000.25, 5_000_000.5, 312.0])
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    clouds = [rng.random((400, 3)) * [20, 20, 3] + corner + [i, 0, 0] for i in range(4)]
    for i, cloud in enumerate(clouds):
        np.save(tmp_path / "in" / f"{i}.npy", cloud)
    settings = {"points": 400, "workers": 1, "normalization": "none", "dtype": "float32", "up": "z"}
    prepare(tmp_path / "in", tmp_path / "out", **settings)
    data = open_dataset(tmp_path / "out")
    offset = np.array(data.meta["offset"])
    for i, cloud in enumerate(clouds):
        read = data[data.names.index(f"{i}.npy")]["points"].numpy()
        assert len(np.unique(read[:, 1])) > 390  # heights
        back = read.astype(np.float64) + offset
        back = np.stack([back[:, 0], -back[:, 2], back[:, 1]], axis=1)
        assert np.allclose(back[np.argsort(back[:, 2])], cloud[np.argsort(cloud[:, 2])], atol=2e-4)
        # Inference takes the same offset off.
        worked = prepare_cloud(cloud, data.meta).numpy()
        assert np.allclose(np.sort(worked, axis=0), np.sort(read, axis=0), atol=2e-4)


def test_clouds_that_float32_cannot_keep_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cloud = np.random.default_rng(0).random((50, 3))
    for i in range(4):
        np.save(tmp_path / "in" / f"{i}.npy", cloud + (5_000_000 if i == 3 else 0))
    with pytest.raises(InputError, match=r"3\.npy lies 5e\+06 from the others"):
        prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, normalization="none")
    assert prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1).clouds == 4


def test_near_coordinates_need_no_offset(tmp_path: Path) -> None:
    boxes(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, normalization="none")
    assert open_dataset(tmp_path / "out").meta["offset"] is None


def test_suffixes_left_alone_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes(tmp_path / "in" / "a")
    for name in ("x.doc", "y.DOC", "z.mtl", "README", "bad\n.new\nline"):
        (tmp_path / "in" / "a" / name).write_text("x")
    prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
    shown = "5 files of other kinds were not read (.doc: 2, no suffix: 1, .mtl: 1, .new\\nline: 1)"
    assert shown in capsys.readouterr().out


NAMES = [
    os.fsdecode(b"st\xfchle.obj"), "a\nact3d: all is well.obj", "\x1b[2J.obj", "[bold red]x[/].obj", "[/].obj",
    "\u202egnp.obj", "a\\nb.obj", "a\nb.obj", "tab\t.obj",
]  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
def test_names_of_any_kind(tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: int) -> None:
    classes = ["[bold]", "new\nline", os.fsdecode(b"\xff"), "\x1b]0;title\x07"]
    for cls in classes:
        for name in NAMES:
            write_obj(tmp_path / "in" / cls / name)
        (tmp_path / "in" / cls / ("broken" + NAMES[1])).write_text("v x\n")
    summary = prepare(tmp_path / "in", tmp_path / "out", points=8, workers=workers)
    assert summary.clouds == len(classes) * len(NAMES)
    printed = "".join(capfd.readouterr())
    assert printed.replace("\n", "").isprintable()
    assert not any(line.startswith("act3d: all is well") for line in printed.splitlines())
    assert "[bold]" in printed
    data = open_dataset(tmp_path / "out")
    assert len(set(data.names)) == len(data.names)
    assert all(text.isprintable() for text in (*data.names, *data.classes))
    with (tmp_path / "out" / "failures.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(classes)


def test_hostile_files_are_failures_and_the_others_are_kept(tmp_path: Path) -> None:
    shutil.copytree(HOSTILE, tmp_path / "in" / "bad")
    boxes(tmp_path / "in" / "good")
    os.mkfifo(tmp_path / "in" / "good" / "pipe.obj")
    (tmp_path / "in" / "good" / "zero.ply").symlink_to("/dev/zero")
    for workers in (1, 2):
        summary = prepare(tmp_path / "in", tmp_path / f"out{workers}", points=8, workers=workers)
        assert summary.clouds == 4
        assert len(summary.failures) == 13


def test_a_file_that_takes_its_process_down_stops_nothing_on_a_rerun_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes(tmp_path / "in", 6)
    # Large enough to need more than it may: its reader is stopped by the system.
    (tmp_path / "in" / "huge.obj").write_text("v 0 0 0\n" * 3_000_000)
    monkeypatch.setattr(guarded, "MEMORY", 100 << 20)
    monkeypatch.setattr(guarded, "MEMORY_A_BYTE", 0)
    for _ in range(2):
        summary = prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
        assert summary.clouds == 6
        assert summary.failures[0][0] == "huge.obj"
        assert "memory" in summary.failures[0][1]


def test_what_files_say_of_their_up_axis_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("plain.obj", "plain.dae", "zup_twin.dae"):
        shutil.copy(CASES / name, tmp_path / "in" / name)
    prepare(tmp_path / "in", tmp_path / "out", points=20000, workers=1, normalization="none", dtype="float32")
    data = open_dataset(tmp_path / "out")
    for i in range(3):
        assert np.allclose(np.ptp(data[i]["points"].numpy(), axis=0), [1.5, 2, 3], atol=0.05)
    assert data.meta["source_formats"] == {".obj": "y"}
    assert ".obj: which axis is up is not said; y is taken" in capsys.readouterr().out
    prepare(tmp_path / "in", tmp_path / "z", points=20000, workers=1, normalization="none", up="z", test_fraction=0)
    data = open_dataset(tmp_path / "z")
    assert data.meta["source_formats"] == {".dae": "z", ".obj": "z"}
    sizes = {name: np.ptp(data[i]["points"].numpy(), axis=0) for i, name in enumerate(data.names)}
    # What was asked for is true of the numbers in the files: the twin that says z is as it was, the others lie down.
    assert np.allclose(sizes["zup_twin.dae"], [1.5, 2, 3], atol=0.05)
    assert np.allclose([sizes["plain.obj"], sizes["plain.dae"]], [1.5, 3, 2], atol=0.05)
    for i, name in enumerate(data.names):
        again = read_points(CASES / name, data.meta, 20000).numpy()
        assert np.allclose(np.ptp(again, axis=0), sizes[name], atol=0.05)
        assert np.allclose(again.mean(axis=0), data[i]["points"].numpy().mean(axis=0), atol=0.05)


def test_a_run_killed_before_its_folder_had_its_name_is_only_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "out", points=16, workers=1)
    first = open_dataset(tmp_path / "out").fingerprint

    def killed(self: PackedWriter) -> None:
        (self.work / "plan.json").unlink()
        raise KeyboardInterrupt

    move = PackedWriter._move
    monkeypatch.setattr(PackedWriter, "_move", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", tmp_path / "out", points=32, workers=1, overwrite=True)
    monkeypatch.setattr(PackedWriter, "_move", move)
    assert open_dataset(tmp_path / "out").fingerprint == first
    when = (tmp_path / ".out.partial" / "points-00000.npy").stat().st_mtime_ns
    prepare(tmp_path / "in", tmp_path / "out", points=32, workers=1, overwrite=True)
    assert open_dataset(tmp_path / "out").points == 32
    assert (tmp_path / "out" / "points-00000.npy").stat().st_mtime_ns == when


def test_a_page_of_the_shapes_lies_beside_the_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes(tmp_path / "in" / "a")
    boxes(tmp_path / "in" / "[b]")
    prepare(tmp_path / "in", tmp_path / "out", points=300, workers=1)
    path = tmp_path / "out.shapes.html"
    assert str(path) in capsys.readouterr().out.replace("\n", "")
    page = path.read_text(encoding="utf-8")
    assert page.count(' data-p="') == 8
    assert "<h3>[b]</h3>" in page
    assert read_shape(tmp_path / "in" / "a" / "a0.obj").faces is not None


def test_a_second_command_into_the_same_folder_ends_in_one_line(tmp_path: Path) -> None:
    boxes(tmp_path / "in")
    with one_writer(tmp_path / "out"), pytest.raises(ConfigError, match="another act3d command writes"):
        prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
    assert prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1).clouds == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "out.shapes.html"]

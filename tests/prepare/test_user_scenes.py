"""A user's own labelled clouds."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from act3d.commands.prepare import prepare
from act3d.data.rooms import open_rooms
from act3d.errors import ConfigError, InputError
from act3d.prepare.user_scenes import prepare_scenes, read_classes, read_labelled
from act3d.use.labelled_clouds import write_ply
from tests.readers.helpers import HOSTILE

POINTS = np.random.default_rng(0).random((100, 3)) * [4, 3, 2] + 50
VALUES = np.arange(100) % 3 + 1  # 1, 2, 3


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("# our own\n2 ground\n3 low plants\n")
    return path


def test_npy_ply_and_las_give_the_same_room(tmp_path: Path, classes: Path) -> None:
    laspy = pytest.importorskip("laspy")
    source = tmp_path / "scans"
    (source / "test").mkdir(parents=True)
    (source / "train").mkdir()
    np.save(source / "train" / "a.npy", np.column_stack([POINTS, VALUES]))
    write_ply(source / "train" / "b.ply", POINTS.astype(np.float32), VALUES, ["w", "x", "y", "z"])
    for suffix in ("las", "laz"):
        las = laspy.create(point_format=3, file_version="1.2")
        las.change_scaling(np.full(3, 1e-4), np.full(3, 50.0))
        las.xyz, las.classification = POINTS, VALUES
        las.red = las.green = las.blue = np.full(100, 65535, dtype=np.uint16)
        las.write(source / "test" / ("c.las" if suffix == "las" else "d.laz"))
    summary = prepare_scenes(source, tmp_path / "out", classes)
    folder = open_rooms(tmp_path / "out")
    assert folder.classes == ["ground", "low plants"]
    assert folder.choose() == (["train_a", "train_b"], ["test_c", "test_d"])
    expected = np.where(VALUES == 1, -1, VALUES - 2)
    for name in folder.rooms:
        room = folder.read(name)
        assert np.allclose(room.points, POINTS - POINTS.min(axis=0), atol=3e-4)
        assert np.array_equal(room.labels, expected)
    assert folder.read("test_d").colors.max() == 255
    assert sum("1 (34 points)" in note for note in summary.notes) == 4


def test_a_named_column_another_axis_and_a_random_split(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    source.mkdir()
    for i in range(5):
        np.save(source / f"s{i}.npy", np.column_stack([POINTS, VALUES - 1, np.random.default_rng(i).random(100)]))
    (tmp_path / "c.txt").write_text("a\nb\nc\n")
    prepare_scenes(source, tmp_path / "out", tmp_path / "c.txt", label="3", up="y", scale=0.1)
    folder = open_rooms(tmp_path / "out")
    train, test = folder.choose()
    assert (len(train), len(test)) == (4, 1)
    assert folder.choose("s2")[1] == ["s2"]
    room = folder.read("s0")
    assert np.allclose(np.ptp(room.points[:, 2]), 0.1 * np.ptp(POINTS[:, 1]), atol=1e-5)
    assert (folder.meta["source_formats"], folder.meta["scale"]) == ({".npy": "y"}, 0.1)
    with pytest.raises(InputError, match="whole numbers"):
        read_labelled(source / "s0.npy")


def test_an_axis_that_is_taken_is_said(tmp_path: Path, classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scans").mkdir()
    np.save(tmp_path / "scans" / "a.npy", np.column_stack([POINTS, VALUES]))
    given = {"format": "scenes", "classes": str(classes), "label": "3"}
    prepare(str(tmp_path / "scans"), out=str(tmp_path / "auto"), **given)
    assert ".npy: which axis is up is not said; z is taken (else --up x, y or z)" in capsys.readouterr().out
    prepare(str(tmp_path / "scans"), out=str(tmp_path / "said"), up="z", **given)
    assert "is not said" not in capsys.readouterr().out


def test_mistakes_are_named(tmp_path: Path, classes: Path) -> None:
    source = tmp_path / "scans"
    source.mkdir()
    with pytest.raises(ConfigError, match="one class a line"):
        prepare_scenes(source, tmp_path / "out", tmp_path / "none.txt")
    with pytest.raises(InputError, match="holds no"):
        prepare_scenes(source, tmp_path / "out", classes)
    np.save(source / "a.npy", np.column_stack([POINTS, VALUES * 0 + 77]))
    with pytest.raises(InputError, match="none of the labels"):
        prepare_scenes(source, tmp_path / "out", classes)
    np.save(source / "a.npy", POINTS)
    with pytest.raises(InputError, match=r"a\.npy holds an array \(100, 3\)"):
        read_labelled(source / "a.npy")
    write_ply(source / "b.ply", POINTS.astype(np.float32), VALUES, ["w", "x", "y", "z"])
    with pytest.raises(InputError, match="no property kind; it has x, y, z"):
        read_labelled(source / "b.ply", "kind")
    bad = tmp_path / "bad.txt"
    for text in ("1 a\n1 b\n", "a\na\n", "1 a\nb\n", "", "only\n"):
        bad.write_text(text)
        with pytest.raises(InputError):
            read_classes(bad)


def test_a_scan_that_cannot_be_read_is_a_failure_and_stops_nothing(tmp_path: Path, classes: Path) -> None:
    pytest.importorskip("laspy")
    source = tmp_path / "scans"
    shutil.copytree(HOSTILE, source / "bad")
    for day in ("day1", "day2"):
        (source / day).mkdir()
        np.save(source / day / "scan.npy", np.column_stack([POINTS, VALUES]))
        write_ply(source / day / "scan.ply", POINTS, VALUES, ["w", "x", "y", "z"])
    (source / "linked").symlink_to(source / "day1")
    for workers in (1, 2):
        summary = prepare_scenes(source, tmp_path / f"out{workers}", classes, workers=workers)
        assert sorted(summary.counts) == ["day1_scan.npy", "day1_scan.ply", "day2_scan.npy", "day2_scan.ply"]
        assert {name for name, _ in summary.failures} == {
            f"bad/{name}" for name in ("crash.laz", "hang.las", "n12.npy", "neg.ply", "neglist.ply", "v12.ply")
        }
        assert open_rooms(tmp_path / f"out{workers}").rooms == sorted(summary.counts)


def test_the_old_rooms_stay_until_the_new_ones_are_complete(tmp_path: Path, classes: Path) -> None:
    source = tmp_path / "scans"
    source.mkdir()
    for name in "ab":
        np.save(source / f"{name}.npy", np.column_stack([POINTS, VALUES]))
    prepare_scenes(source, tmp_path / "out", classes)
    (source / "a.npy").unlink()
    (source / "b.npy").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"none of 1 files gave a room; the first: b\.npy"):
        prepare_scenes(source, tmp_path / "out", classes, overwrite=True)
    assert open_rooms(tmp_path / "out").rooms == ["a", "b"]
    np.save(source / "c.npy", np.column_stack([POINTS, VALUES]))
    prepare_scenes(source, tmp_path / "out", classes, overwrite=True)
    assert open_rooms(tmp_path / "out").rooms == ["c"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_class_lists_in_any_unicode(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.txt").write_bytes("Böden\nWände\n".encode(encoding))
    assert read_classes(tmp_path / "c.txt") == {0: "Böden", 1: "Wände"}


def test_class_lists_in_another_encoding_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes("Böden\nWände\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_classes(tmp_path / "c.txt")


def test_labelled_arrays_on_their_side_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.column_stack([POINTS, VALUES]).T)
    with pytest.raises(InputError, match=r"\(4, 100\)"):
        read_labelled(tmp_path / "a.npy")


def test_the_command_draws_a_few_rooms_and_lists_failures(
    tmp_path: Path, classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.column_stack([POINTS, VALUES]))
    (tmp_path / "in" / "bad\n.ply").write_text("ply")
    prepare(source=tmp_path / "in", out=tmp_path / "out", format="scenes", classes=classes, workers=1)
    printed = capsys.readouterr().out
    assert "1 files failed:\n  bad\\n.ply: " in printed
    page = (tmp_path / "out.shapes.html").read_text(encoding="utf-8")
    assert page.count(' data-p="') == len(list((tmp_path / "out").glob("*.npy")))

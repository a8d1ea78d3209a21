"""S3DIS: raw annotations to rooms, rooms to blocks."""

import os
from pathlib import Path

import numpy as np
import pytest

from act3d.data.rooms import S3DIS_CLASSES, class_weights, open_rooms
from act3d.data.scenes import SceneBlocks
from act3d.errors import InputError
from act3d.prepare.s3dis import RAW, parse_points, prepare_s3dis
from act3d.readers import guarded

ROOMS = ["Area_1/office_1", "Area_1/office_2", "Area_5/hallway_6", "Area_6/WC_1"]


def lines(rng: np.random.Generator, number: int, low: list[float], high: list[float]) -> bytes:
    """Points as the release writes them."""
    rows = rng.uniform(low, high, (number, 3))
    colors = rng.integers(0, 256, (number, 3))
    return b"".join(b"%.3f %.3f %.3f %d %d %d\n" % (*p, *c) for p, c in zip(rows, colors, strict=True))


def write_raw(root: Path) -> Path:
    """Four rooms of 2 x 2 x 2 m, with the release's names; the stray character sits in Area_5/hallway_6."""
    rng = np.random.default_rng(0)
    for number, room in enumerate(ROOMS):
        folder = root / RAW / room / "Annotations"
        folder.mkdir(parents=True)
        x, y = 10.0 * number, -5.0
        (folder / "floor_1.txt").write_bytes(lines(rng, 300, [x, y, 0], [x + 2, y + 2, 0.01]))
        (folder / "ceiling_1.txt").write_bytes(lines(rng, 200, [x, y, 1.9], [x + 2, y + 2, 2]))
        (folder / "chair_1.txt").write_bytes(lines(rng, 50, [x, y, 0], [x + 1, y + 1, 1]))
        (folder / "chair_12.txt").write_bytes(lines(rng, 50, [x, y, 0], [x + 1, y + 1, 1]))
    (root / RAW / "Area_6/WC_1/Annotations/stairs_1.txt").write_bytes(lines(rng, 10, [30, -5, 0], [31, -4, 1]))
    broken = root / RAW / "Area_5/hallway_6/Annotations/ceiling_1.txt"
    content = broken.read_bytes().split(b"\n")
    content[180] = b"20.500 -4.000 1.950 185\x10187 100"
    broken.write_bytes(b"\n".join(content))
    (root / RAW / "Area_5" / ".DS_Store").write_bytes(b"\0\1")
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_raw_to_rooms(tmp_path: Path, workers: int) -> None:
    summary = prepare_s3dis(write_raw(tmp_path), tmp_path / "out" / "stanford_indoor3d", workers)
    folder = open_rooms(tmp_path / "out")
    assert folder.classes == S3DIS_CLASSES
    assert folder.rooms == ["Area_1_office_1", "Area_1_office_2", "Area_5_hallway_6", "Area_6_WC_1"]
    room = folder.read("Area_1_office_2")
    assert room.points.shape == (600, 3)
    assert np.allclose(room.points.min(axis=0), 0)
    assert np.bincount(room.labels, minlength=13)[[0, 1, 8]].tolist() == [200, 300, 100]
    assert folder.read("Area_6_WC_1").labels.tolist().count(S3DIS_CLASSES.index("clutter")) == 10
    assert any("stairs" in note and "clutter" in note for note in summary.notes)
    stray = [note for note in summary.notes if "line 181" in note]
    assert len(stray) == 1
    assert "Area_5_hallway_6/ceiling_1.txt" in stray[0]
    assert "read as 20.5 -4 1.95 185 187 100" in stray[0]
    assert len(folder.read("Area_5_hallway_6").points) == 600


def test_rows_equal_the_release_arithmetic(tmp_path: Path) -> None:
    raw = write_raw(tmp_path) / RAW / "Area_1/office_1/Annotations"
    prepare_s3dis(tmp_path, tmp_path / "out")
    parts = [np.loadtxt(path) for path in sorted(raw.glob("*.txt"))]
    labels = [0, 8, 8, 1]  # ceiling, chair, chair, floor
    joined = np.concatenate([np.column_stack([p, np.full(len(p), k)]) for p, k in zip(parts, labels, strict=True)])
    joined[:, :3] -= joined[:, :3].min(axis=0)
    assert np.allclose(np.load(tmp_path / "out" / "Area_1_office_1.npy"), joined, atol=1e-5)


@pytest.mark.parametrize("workers", [1, 2])
def test_rooms_that_cannot_be_read_do_not_stop_the_others(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_raw(tmp_path) / RAW
    for path in (raw / "Area_1/office_1/Annotations").iterdir():
        path.write_bytes(b"")
    os.mkfifo(raw / "Area_6/WC_1/Annotations/wall_1.txt")  # would be waited for without end
    monkeypatch.setattr(guarded, "SECONDS", 20.0)
    summary = prepare_s3dis(tmp_path, tmp_path / "out", workers)
    assert open_rooms(tmp_path / "out").rooms == ["Area_1_office_2", "Area_5_hallway_6"]
    assert [(name, reason.split(" (")[0]) for name, reason in summary.failures] == [
        ("Area_1_office_1", "its annotations hold no points"),
        ("Area_6_WC_1", "wall_1.txt: is not a regular file"),
    ]
    (raw / "Area_6/WC_1/Annotations/wall_1.txt").unlink()
    again = prepare_s3dis(tmp_path, tmp_path / "out", workers)  # what is there is kept, what failed is tried again
    assert [name for name, _ in again.failures] == ["Area_1_office_1"]
    assert open_rooms(tmp_path / "out").rooms[-1] == "Area_6_WC_1"
    assert sum("was there already" in note for note in again.notes) == 2


def test_no_room_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / RAW / "Area_1" / "office_1" / "Annotations").mkdir(parents=True)
    (tmp_path / RAW / "Area_1" / ".office_2.partial" / "Annotations").mkdir(parents=True)
    with pytest.raises(InputError, match="none of 1 files gave a room; the first: Area_1_office_1: its annotations"):
        prepare_s3dis(tmp_path, tmp_path / "out")


def test_rooms_whose_names_meet_stay_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for room, count in (("Area_1/2_x", 40), ("Area_1_2/x", 50), ("Area_1/y\n", 60), (r"Area_1/y\n", 70)):
        (tmp_path / RAW / room / "Annotations").mkdir(parents=True)
        (tmp_path / RAW / room / "Annotations" / "floor_1.txt").write_bytes(lines(rng, count, [0, 0, 0], [1, 1, 1]))
    made = prepare_s3dis(tmp_path, tmp_path / "out")
    folder = open_rooms(tmp_path / "out")
    assert sorted(len(folder.read(room).points) for room in folder.rooms) == [40, 50, 60, 70]
    assert sorted(made.counts) == folder.rooms


def test_lines_beyond_repair_are_left_out_and_named() -> None:
    data = b"1 2 3 4 5 6\n1 2 3 \xff\xff 4 5 6\n1 2 3 4 5\n7 8 9 1\x002 3 4\nnan 1 1 1 1 1\n"
    rows, notes = parse_points(data, "room/x.txt")
    # In the second line a stray word goes; in the fourth a character splits a number in two, or one into seven.
    assert rows.tolist() == [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [7, 8, 9, 12, 3, 4]]
    assert [note.split(":")[0] for note in notes] == [f"room/x.txt, line {number}" for number in (2, 3, 4, 5)]
    assert "left out" in notes[1]


def test_any_area_can_be_held_out(tmp_path: Path) -> None:
    prepare_s3dis(write_raw(tmp_path), tmp_path / "out")
    folder = open_rooms(tmp_path / "out")
    assert folder.choose()[1] == ["Area_5_hallway_6"]
    assert folder.choose("Area_1") == (["Area_5_hallway_6", "Area_6_WC_1"], ["Area_1_office_1", "Area_1_office_2"])
    assert folder.choose("Area_6+Area_1_office_2")[1] == ["Area_1_office_2", "Area_6_WC_1"]
    with pytest.raises(InputError, match="no room 'Area_2'"):
        folder.choose("Area_2")
    with pytest.raises(InputError, match="no room to train"):
        folder.choose("Area_1+Area_5+Area_6")


def test_released_arrays_are_read_without_a_description(tmp_path: Path) -> None:
    folder = tmp_path / "stanford_indoor3d"
    folder.mkdir()
    array = np.random.default_rng(0).random((40, 7)) * [2, 2, 2, 255, 255, 255, 12]
    array[:, 6] = array[:, 6].round()
    for name in ("Area_1_a", "Area_5_b"):
        np.save(folder / f"{name}.npy", array)  # float64, as the release writes it
    rooms = open_rooms(tmp_path)
    assert rooms.classes == S3DIS_CLASSES
    assert np.array_equal(rooms.read("Area_5_b").labels, array[:, 6])
    np.save(folder / "Area_1_a.npy", array[:, :6])
    with pytest.raises(InputError, match="expected \\(points, 7\\)"):
        rooms.read("Area_1_a")


def test_blocks_are_squares_of_a_room(tmp_path: Path) -> None:
    prepare_s3dis(write_raw(tmp_path), tmp_path / "out")
    folder = open_rooms(tmp_path / "out")
    blocks = SceneBlocks(folder, ["Area_1_office_1", "Area_6_WC_1"], points=64, min_points=100, coverage=2.0)
    assert len(blocks) == round(2 * 1210 / 64)
    batch = blocks.fetch(list(range(len(blocks))))
    assert batch["points"][:, :, :2].abs().max() <= 0.5 + 1e-5
    assert batch["points"][:, :, 2].min() >= 0
    assert set(batch["label"].tolist()) == {0, 1}
    room = folder.read("Area_1_office_1")
    label_at = {tuple(np.round(p, 3)): k for p, k in zip(room.points[:, 2:], room.labels.tolist(), strict=True)}
    cloud, labels = batch["points"][0].numpy(), batch["parts"][0].tolist()
    assert all(label_at[tuple(np.round(p[2:], 3))] == k or p[2] < 0.02 for p, k in zip(cloud, labels, strict=True))
    again, later = blocks.fetch([3], 0), blocks.fetch([3], 1)
    assert (again["points"] == batch["points"][3]).all()
    assert not (later["points"] == batch["points"][3]).all()


def test_class_weights_are_cube_roots() -> None:
    assert np.allclose(class_weights(np.array([800, 100, 0])), [1, 2, 0])
    with pytest.raises(InputError):
        class_weights(np.zeros(3))

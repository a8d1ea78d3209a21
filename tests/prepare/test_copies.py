"""Exact copies under other names: a shape is in one split, and `prepare` says how many copies there are."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from act3d.commands.prepare import prepare
from act3d.data import open_dataset
from act3d.data.rooms import open_rooms
from act3d.files import unique_names
from act3d.prepare import copies
from act3d.prepare.copies import equal_files, joined
from act3d.prepare.user_scenes import prepare_scenes
from tests.data.helpers import CUBE_VERTICES, write_obj


def boxes(folder: Path, count: int) -> list[Path]:
    """Write boxes of different heights."""
    return [write_obj(folder / f"{i}.obj", CUBE_VERTICES * [1, 1 + i, 1]) for i in range(count)]


def splits(out: Path) -> dict[str, str]:
    data = open_dataset(out)
    return dict(zip(data.names, data.split, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_copies_get_one_split(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    for cls in ("chair", "table"):
        for path in boxes(tmp_path / "in" / cls, 8 if cls == "chair" else 5):
            shutil.copy(path, path.with_name(f"copy of {path.name}"))
    prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, test_fraction=0.25, seed=seed)
    found = splits(tmp_path / "out")
    for cls in ("chair", "table"):
        for i in range(5):
            assert found[f"{cls}/{i}.obj"] == found[f"{cls}/copy of {i}.obj"] == found[f"chair/{i}.obj"]
    # Of eight different chairs two are tested; the tables are copies of chairs, and go with them.
    assert sum(split == "test" for name, split in found.items() if name.startswith("chair")) == 4
    note = "18 files are exact copies of others under another name (chair/0.obj = chair/copy of 0.obj)"
    assert f"{note}: all copies get one split" in capsys.readouterr().out


def test_a_copy_in_another_format_binds_both(tmp_path: Path) -> None:
    a, b, *_ = boxes(tmp_path / "in", 6)
    trimesh = pytest.importorskip("trimesh")
    trimesh.Trimesh(CUBE_VERTICES, process=False).export(a.with_suffix(".ply"))
    shutil.copy(a.with_suffix(".ply"), b.with_suffix(".ply"))  # so 0.obj, 0.ply, 1.ply and 1.obj are bound together
    for seed in range(6):
        prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, test_fraction=0.4, seed=seed, overwrite=True)
        found = splits(tmp_path / "out")
        assert len({found[name] for name in ("0.obj", "0.ply", "1.ply", "1.obj")}) == 1


def test_an_unlabelled_copy_keeps_a_shape_out_of_the_test_split(tmp_path: Path) -> None:
    for path in boxes(tmp_path / "in" / "chair", 4)[:3]:
        shutil.copy(path, tmp_path / "in" / f"loose{path.name}")
    for seed in range(4):
        prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, test_fraction=0.5, seed=seed, overwrite=True)
        found = splits(tmp_path / "out")
        assert [name for name, split in found.items() if split == "test"] == []
        assert found["loose0.obj"] == "unlabeled"
    write_obj(tmp_path / "in" / "chair" / "own.obj", CUBE_VERTICES * [3, 1, 1])
    prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1, test_fraction=0.5, overwrite=True)
    found = splits(tmp_path / "out")
    assert [name for name, split in found.items() if split == "test"] in (["chair/3.obj"], ["chair/own.obj"])


def test_copies_over_given_splits_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in boxes(tmp_path / "in" / "train" / "chair", 3)[:2]:
        (tmp_path / "in" / "test" / "chair").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "in" / "test" / "chair")
    summary = prepare(tmp_path / "in", tmp_path / "out", points=8, workers=1)
    assert summary.counts == {"chair": {"train": 3, "test": 2}}
    assert "2 files are exact copies of others" in capsys.readouterr().out
    assert any("2 shapes are in two splits by it, as the folders say" in note for note in summary.notes)


def test_copies_of_scans_get_one_split(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "classes.txt").write_text("floor\nwall\n")
    for i in range(6):
        cloud = np.column_stack([np.random.default_rng(i).random((50, 3)), np.arange(50) % 2])
        np.save(tmp_path / "in" / f"{i}.npy", cloud)
        shutil.copy(tmp_path / "in" / f"{i}.npy", tmp_path / "in" / f"x{i}.npy")
    for seed in range(4):
        out = tmp_path / str(seed)
        made = prepare_scenes(tmp_path / "in", out, tmp_path / "classes.txt", test_fraction=0.3, seed=seed)
        found = open_rooms(out).splits
        assert sum(split == "test" for split in found.values()) == 4
        assert all(found[str(i)] == found[f"x{i}"] for i in range(6))
        assert made.notes == [
            "6 files are exact copies of others under another name (0 = x0): all copies get one split"
        ]


def test_equal_files_are_told_by_all_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [b"a" * 100, b"b" * 100, b"a" * 99 + b"b", b"a" * 100, b"", b"", b"a" * 99 + b"b", b"c"]
    paths = [tmp_path / str(i) for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    paths.append(tmp_path / "gone")
    for head in (1 << 16, 10):
        monkeypatch.setattr(copies, "HEAD", head)
        assert equal_files(paths) == [[0, 3], [2, 6]]


def test_groups_that_share_a_member_are_one() -> None:
    assert joined([[0, 3], [5, 6], [3, 5], [1, 2]], 8) == [[0, 3, 5, 6], [1, 2], [4], [7]]
    assert joined([], 2) == [[0], [1]]


def test_unique_names() -> None:
    assert unique_names(["a", "b\n", "b\\n", "a", "a", "a~2"]) == ["a", "b\\n", "b\\n~2", "a~2", "a~3", "a~2~2"]

"""Which files a folder holds: the same for preparing, embedding and labelling."""

import os
from pathlib import Path

from act3d.readers.by_suffix import READERS
from act3d.readers.find import find_files


def test_files_behind_links_are_found_once(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "deep").mkdir(parents=True)
    (real / "deep" / "a.obj").touch()
    (real / "b.STL").touch()
    root = tmp_path / "in"
    root.mkdir()
    (root / "x").symlink_to(real)
    (root / "y").symlink_to(real / "deep")
    (root / "z").symlink_to(root)
    (root / ".hidden.obj").touch()
    (root / "gone.obj").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe.obj")
    (root / "notes.txt").touch()
    found = find_files(root, READERS)
    assert [path.relative_to(root).as_posix() for path in found.files] == ["gone.obj", "pipe.obj", "x/b.STL", "y/a.obj"]
    assert found.others == {".txt": 1}
    assert found.notes == ["z links to a folder that it lies in: not followed"]


def test_a_folder_inside_can_be_left_out(tmp_path: Path) -> None:
    for name in ("out", "in"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.obj").touch()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert find_files(tmp_path, READERS, tmp_path / "out").files == [tmp_path / "in" / "a.obj"]

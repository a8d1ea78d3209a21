"""Names of output files, and names as a terminal may see them."""

import os
from pathlib import Path

import pytest

from act3d import files
from act3d.files import output_names, plain_path, printable, read_json, write_json


def names(inputs: list[str], **settings: bool) -> list[str]:
    return [path.relative_to("out").as_posix() for path in output_names(inputs, "out", ".ply", **settings)]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["day1/scan.xyz", "day2/scan.xyz"], ["day1/scan.ply", "day2/scan.ply"]),
        (["plain.obj", "plain.stl", "other.stl"], ["plain.obj.ply", "plain.stl.ply", "other.ply"]),
        (["/data/day1/scan.xyz", "/data/day2/scan.xyz"], ["day1/scan.ply", "day2/scan.ply"]),
        (["/data/a.las"], ["a.ply"]),
        (["a.obj", "A.obj"], ["a.obj.ply", "A.obj-2.ply"]),
        (["a.obj", "a.obj"], ["a.obj.ply", "a.obj-2.ply"]),
        (["a.obj", "a.stl", "a.obj.obj"], ["a.obj.ply", "a.stl.ply", "a.obj-2.ply"]),
        (["a.ply/b.obj", "a.obj"], ["a.ply/b.ply", "a-2.ply"]),
        (["../../home/x.obj", "/x.obj", ".."], ["home/x.ply", "x.ply", "unnamed.ply"]),
        (["scan.v2.xyz", "scan.v1.xyz"], ["scan.v2.ply", "scan.v1.ply"]),
        ([], []),
    ],
)
def test_output_names(inputs: list[str], expected: list[str]) -> None:
    assert names(inputs) == expected


def test_flat_names_do_not_meet() -> None:
    assert names(["day1/scan.xyz", "day1_scan.xyz", "b.las"], flat=True) == [
        "day1_scan.xyz.ply", "day1_scan.xyz-2.ply", "b.ply",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("chair/ä [red] 椅子.obj", "chair/ä [red] 椅子.obj"),
        ("a\nact3d: all is well", "a\\nact3d: all is well"),
        ("\x1b[2Jgone\r", "\\x1b[2Jgone\\r"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        (os.fsdecode(b"st\xfchle.obj"), "st\\xfchle.obj"),
        ("\u2028\x85", "\\u2028\\x85"),
        ("a\u00a0b\u3000c\n", "a\u00a0b\u3000c\\n"),
    ],
)
def test_printable(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(Path(name)) == shown
    printable(name).encode("utf-8")


def folder_with(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "content").write_text(text)
    return path


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    out = tmp_path / "out"
    files.move_into_place(folder_with(tmp_path / "a", "old"), out)
    files.move_into_place(folder_with(tmp_path / "b", "new"), out)
    assert (out / "content").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_kill_while_a_folder_is_replaced_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second rename never happens, where folders cannot be exchanged at once."""
    out, new = folder_with(tmp_path / "out", "old"), folder_with(tmp_path / "new", "new")
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path == new:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        files.move_into_place(new, out)
    assert not out.exists()
    files.recover_folder(out)
    assert (out / "content").read_text() == "old"
    files.recover_folder(out)
    assert (out / "content").read_text() == "old"


def test_linux_exchanges_folders_at_once(tmp_path: Path) -> None:
    first, second = folder_with(tmp_path / "a", "1"), folder_with(tmp_path / "b", "2")
    if not files._exchange(first, second):
        pytest.skip("this file system cannot exchange folders")
    assert ((first / "content").read_text(), (second / "content").read_text()) == ("2", "1")


def test_texts_with_names_that_are_no_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.obj")
    write_json(tmp_path / "answer.json", {name: "caf\u00e9"})
    assert read_json(tmp_path / "answer.json") == {name: "caf\u00e9"}


def test_a_path_is_plain_unless_a_link_leads_elsewhere(tmp_path: Path) -> None:
    for folder in ("shapes", "far/off", "far/shapes"):
        (tmp_path / folder).mkdir(parents=True)
    assert plain_path(tmp_path / "far" / ".." / "shapes") == tmp_path / "shapes"
    (tmp_path / "link").symlink_to(tmp_path / "far/off")
    behind = tmp_path / "link" / ".." / "shapes"
    assert plain_path(behind) == behind
    assert behind.samefile(tmp_path / "far/shapes")
    assert plain_path(tmp_path / "link") == tmp_path / "link"

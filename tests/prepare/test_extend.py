"""`act3d prepare --extend`: what is known is kept, and the result is that of reading all."""

import os
from pathlib import Path

import pytest

from act3d.commands.prepare import prepare
from act3d.errors import ConfigError, InputError
from tests.data.helpers import CUBE_VERTICES, write_obj


def box(root: Path, number: int, tall: float = 1.0) -> Path:
    path = write_obj(root / "abc"[number % 3] / f"{number}.obj", CUBE_VERTICES * [1, tall + number / 100, 1])
    lines = path.read_text().splitlines()
    faces = [line for line in lines if line.startswith("f")]
    rest = [line for line in lines if not line.startswith("f")]
    path.write_text("\n".join([*rest, "g lid", *faces[:2], "g foot", *faces[2:]]) + "\n")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """More files than a shard holds, and one that cannot be read."""
    for number in range(140):
        box(tmp_path / "in", number)
    (tmp_path / "in" / "a" / "bad.obj").write_text("v 0 0\nf 1 2 3\n")
    return tmp_path / "in"


def changed(source: Path) -> Path:
    """Some files come, go, change, or get another class."""
    for number in (1, 65, 200, 201, 202):
        path = box(source, number, tall=10.25)
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))  # times are compared by the second
    (source / "a" / "3.obj").unlink()
    (source / "d").mkdir()
    os.rename(source / "b" / "4.obj", source / "d" / "4.obj")
    return source


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("beside", [{}, {"parts": "groups", "channels": "xyz,normal"}])
def test_only_what_has_changed_is_read_and_the_bytes_are_those_of_reading_all(
    beside: dict[str, str], source: Path, tmp_path: Path
) -> None:
    prepare(source, tmp_path / "out", points=16, workers=1, **beside)
    changed(source)
    with pytest.raises(InputError, match="--extend true or --overwrite true"):
        prepare(source, tmp_path / "out", points=16, workers=1, **beside)
    made = prepare(source, tmp_path / "out", points=16, workers=1, extend=True, **beside)
    # new: 200, 201, 202 and the one in another folder; changed: 1 and 65; failed before: 1
    assert "136 clouds were kept; 7 files are new, changed, or failed before" in made.notes
    prepare(source, tmp_path / "whole", points=16, workers=1, **beside)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    again = prepare(source, tmp_path / "out", points=16, workers=1, extend=True, **beside)
    assert "was already complete: nothing to do" in again.notes


def test_other_settings_read_all_anew(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", points=16, workers=1)
    made = prepare(source, tmp_path / "out", points=16, workers=1, scale=2.0, extend=True)
    assert "0 clouds were kept; 141 files are new, changed, or failed before" in made.notes
    prepare(source, tmp_path / "whole", points=16, workers=1, scale=2.0)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_nothing_is_kept_of_a_damaged_dataset_and_it_stays_as_it_is(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(source, out, points=16, workers=1)
    changed(source)
    shard = bytearray((out / "points-00000.npy").read_bytes())
    shard[-1] ^= 1
    (out / "points-00000.npy").write_bytes(shard)
    before = content(out)
    with pytest.raises(InputError, match=r"points-00000\.npy was changed after it was written"):
        prepare(source, out, points=16, workers=1, extend=True)
    assert content(out) == before
    (out / "sources.csv").unlink()
    with pytest.raises(InputError, match=r"has no sources\.csv .* --overwrite true reads all"):
        prepare(source, out, points=16, workers=1, extend=True)


def test_where_nothing_is_there_yet_all_is_read(source: Path, tmp_path: Path) -> None:
    assert prepare(source, tmp_path / "out", points=16, workers=1, extend=True).clouds == 140
    with pytest.raises(ConfigError, match="extend: keeps what overwrite would read anew"):
        prepare(source, tmp_path / "out", points=16, workers=1, extend=True, overwrite=True)

"""LDraw parts: files inside files under maps, odd cases of names, pieces that are missing, and strangers' files."""

from pathlib import Path

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.readers import ldraw
from act3d.readers.by_suffix import read_shape
from act3d.readers.ldraw import read_header, read_ldraw
from act3d.readers.shape import face_areas
from tests.fixtures.ldraw_library import BRICK, FLOOR, ldraw_library


@pytest.fixture
def library(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.delenv("LDRAWDIR", raising=False)
    return ldraw_library(tmp_path / "deb")


def test_pieces_are_mapped_and_up_is_y(library: Path) -> None:
    part = library / "parts/own.dat"
    part.write_text(BRICK)
    shape = read_shape(part)
    assert shape.faces is not None
    assert len(shape.faces) == 2 * 2 + 2
    assert shape.missing == 0
    low, high = shape.vertices.min(axis=0), shape.vertices.max(axis=0)
    assert low.tolist() == [-20, -24, -10], "the floor lies 24 under the origin"
    assert high.tolist() == [20, 4, 10], "the studs stand 4 above it"
    # two studs of 2 x 6 x 6, one floor of 40 x 20
    assert face_areas(shape.vertices, shape.faces).sum() == pytest.approx(2 * 72 + 800)


def test_map_is_read_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("0 a\n1 16 10 20 30 0 1 0 0 0 1 1 0 0 b.dat\n")
    (tmp_path / "b.dat").write_text("0 b\n3 16 1 2 3 0 0 0 0 0 1\n")
    corners = read_ldraw(tmp_path / "a.dat").vertices * ldraw.Y_UP
    # x' = y + 10, y' = z + 20, z' = x + 30
    np.testing.assert_allclose(corners, [[12, 23, 31], [10, 20, 30], [10, 21, 30]])


def test_library_comes_from_the_variable_for_a_file_elsewhere(library: Path, tmp_path: Path, monkeypatch) -> None:
    own = tmp_path / "mine" / "model.ldr"
    own.parent.mkdir()
    own.write_text("0 Mine\n1 4 0 0 0 1 0 0 0 1 0 0 0 1 stud.dat\n1 4 0 0 0 1 0 0 0 1 0 0 0 1 Beside.dat\n")
    (own.parent / "beside.dat").write_text(FLOOR)
    with pytest.raises(InputError, match=r"stud\.dat is not beside it; set LDRAWDIR"):
        read_ldraw(own)
    monkeypatch.setenv("LDRAWDIR", str(library))
    shape = read_ldraw(own)
    assert shape.faces is not None
    assert len(shape.faces) == 4
    # Another folder's file of the same name is another file.
    other = tmp_path / "yours" / "model.ldr"
    other.parent.mkdir()
    other.write_text(own.read_text())
    (other.parent / "beside.dat").write_text(FLOOR + FLOOR)
    assert len(read_ldraw(other).vertices) == 3 * 6


def test_missing_pieces_are_counted(library: Path) -> None:
    part = library / "parts/own.dat"
    part.write_text(BRICK + "1 16 0 0 0 1 0 0 0 1 0 0 0 1 gone.dat\n" * 2)
    assert read_ldraw(part).missing == 2
    part.write_text("0 Only\n1 16 0 0 0 1 0 0 0 1 0 0 0 1 gone.dat\n")
    with pytest.raises(InputError, match=r"gone\.dat is not in"):
        read_ldraw(part)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 a\n1 16 0 0 0 1 0 0 0 1 0 0 0 1 a.dat\n", "contains itself"),
        ("0 a\n3 16 0 0 0 1 1\n", "line 2.*no LDraw record"),
        ("synset,label\n1,2\n", "line 1.*no LDraw record"),
        ("0 a\n3 16 0 0 zero 1 1 1 2 2 3\n", "not a number"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.dat").write_text(text)
    with pytest.raises(InputError, match=message):
        read_ldraw(tmp_path / "a.dat")


def test_nesting_is_capped_in_depth_and_in_size(tmp_path: Path, monkeypatch) -> None:
    place = "1 16 0 0 0 1 0 0 0 1 0 0 0 1 {}.dat\n"
    for level in range(40):
        (tmp_path / f"{level}.dat").write_text("0 level\n" + 10 * place.format(level + 1))
    (tmp_path / "40.dat").write_text("0 leaf\n3 16 0 0 0 1 0 0 0 1 0\n")
    with pytest.raises(InputError, match="more than 32 deep"):
        read_ldraw(tmp_path / "0.dat")
    monkeypatch.setattr(ldraw, "MAX_TRIANGLES", 100_000)
    with pytest.raises(InputError, match="more than 100000 triangles"):
        read_ldraw(tmp_path / "15.dat")  # ten to the 25th
    assert len(read_ldraw(tmp_path / "37.dat").vertices) == 3000


def test_no_path_leads_out_of_the_library(library: Path) -> None:
    secret = library.parent / "secret.dat"
    secret.write_text(FLOOR)
    part = library / "parts/own.dat"
    part.write_text("0 a\n1 16 0 0 0 1 0 0 0 1 0 0 0 1 ..\\..\\secret.dat\n3 16 0 0 0 1 0 0 0 1 0\n")
    shape = read_ldraw(part)
    assert (shape.missing, len(shape.vertices)) == (1, 3)


def test_header(library: Path) -> None:
    part = library / "parts/own.dat"
    part.write_text(BRICK)
    found = read_header(part)
    assert found["title"] == "Brick  2 x  1"
    assert found["author"] == "James Jessiman"
    assert found["licence"].startswith("Redistributable under CCAL version 2.0")
    assert found["category"] == "Brick"

"""Clouds: text in its many forms, arrays, PCD: the points that are meant, or a refusal."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.readers.by_suffix import read_shape

POINTS = [[0.5, 1.25, -2.0], [3.0, 4.5, 5.0], [6.0, 7.0, 8.5], [9.0, 1.0, 0.25]]


def read(tmp_path: Path, name: str, content: str | bytes) -> list[list[float]]:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    shape = read_shape(tmp_path / name)
    assert shape.faces is None
    points: list[list[float]] = shape.vertices.tolist()
    return points


def lines(separator: str = " ", comma: bool = False, rows: list[list[float]] = POINTS) -> str:
    text = "".join(separator.join(str(value) for value in row) + "\n" for row in rows)
    return text.replace(".", ",") if comma else text


@pytest.mark.parametrize("separator", [";", "; ", " ; ", "\t", "  ", " "])
def test_decimal_commas_where_something_else_separates(tmp_path: Path, separator: str) -> None:
    assert read(tmp_path, "x.xyz", lines(separator, comma=True)) == POINTS


@pytest.mark.parametrize("separator", [";", "\t", " "])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_rows_of_whole_numbers_beside_decimal_commas(tmp_path: Path, separator: str, place: int) -> None:
    rows = [*POINTS[:2], [0.5, 7.0, -1.5]]
    whole: list[float] = [12, 0, 3]
    rows.insert(len(rows) if place < 0 else place, whole)
    text = lines(separator, comma=True, rows=rows)
    assert read(tmp_path, "x.xyz", text) == rows
    assert read(tmp_path, "y.xyz", separator.join("xyz") + "\n" + text) == rows
    assert read(tmp_path, "z.pts", f"{len(rows)}\n{text}") == rows


@pytest.mark.parametrize(
    ("separator", "end"),
    [
        (",", ";"),
        (",", ""),
        (",", ","),
        (", ", ""),
        (", ", ","),
        (" ,", ""),
        (";", ""),
        (";", ";"),
        ("\t", ""),
        ("   ", " "),
    ],
)
def test_decimal_points(tmp_path: Path, separator: str, end: str) -> None:
    assert read(tmp_path, "x.xyz", lines(separator).replace("\n", f"{end}\n")) == POINTS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0,5,1,2,0,3\n0,6,1,3,0,04\n0,7,1,4,0,05\n0,1,2,5,2,1\n", "separates both"),
        ("1.234,5;2;3\n2.234,5;3;4\n", "both points and commas"),
        ("1,234.5 2,345.6 3,456.7\n1,234.5 2,345.6 3,456.7\n", "both points and commas"),
        ("1 2 3\n1 2\n4 5 6\n7 8 9\n", "between 2 and 3 columns"),
        ("1 2 3 4\n1 2 3 4\n1 2 3\n7 8 9 1\n", "between 3 and 4 columns"),
        ("1 2\n3 4\n5 6\n", "2 columns"),
        ("a b c\n1 2 3\n4 5 6\n", "columns 'a b c'"),
        ("easting;northing;height\n1;2;3\n4;5;6\n", "expected x, y and z"),
        ("1 2 x\n1 2 3\n4 5 6\n", "not all numbers"),
        ("1;;3\n1;2;3\n", "not all numbers"),
        ("1 2 3 4 5 6 7\n" * 3, "transposed"),
    ],
)
def test_text_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(tmp_path, "x.xyz", text)


@pytest.mark.parametrize(
    ("head", "order"),
    [
        ("id x y z", [None, 0, 1, 2]), ("z y x", [2, 1, 0]), ("# id X Y Z", [None, 0, 1, 2]),
        ("//X Y Z R", [0, 1, 2, None]), ('"nx" "x" "z" "y"', [None, 0, 2, 1]), ("x[m] y[m] z[m]", [0, 1, 2]),
        ("intensity;z;x;y", [None, 2, 0, 1]), ("a title of the scan, in words", [0, 1, 2]),
        ("# just a comment", [0, 1, 2]),
    ],
)  # fmt: skip
def test_headers_name_the_columns(tmp_path: Path, head: str, order: list[int | None]) -> None:
    rows = [[77.0 if axis is None else row[axis] for axis in order] for row in POINTS]
    assert read(tmp_path, "x.xyz", f"{head}\n{lines(rows=rows)}") == POINTS


def test_pts_promises(tmp_path: Path) -> None:
    assert read(tmp_path, "x.pts", "4\n" + lines()) == POINTS
    two = f"2\n{lines(rows=POINTS[:2])}2\n{lines(rows=POINTS[2:])}"
    assert read(tmp_path, "x.pts", two) == POINTS
    for count, reason in ((5, "ends early: 5"), (3, "more points than the 3")):
        with pytest.raises(InputError, match=reason):
            read(tmp_path, "x.pts", f"{count}\n" + lines())


@pytest.mark.parametrize("shape", [(3, 4), (3, 500), (6, 500), (4, 8), (1, 500), (2, 40)])
def test_arrays_on_their_side_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random(shape))
    np.savez(tmp_path / "x.npz", points=np.random.default_rng(0).random(shape))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(InputError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
            read_shape(tmp_path / name)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i2", "f2"])
def test_arrays_of_any_number_type(tmp_path: Path, order: str, kind: str) -> None:
    array = np.arange(30).reshape(10, 3).astype(kind)
    np.save(tmp_path / "x.npy", np.asarray(array, order=order))  # type: ignore[call-overload]
    assert read_shape(tmp_path / "x.npy").vertices.tolist() == np.arange(30).reshape(10, 3).tolist()


@pytest.mark.parametrize("shape", ["(-4, 3)", "(4, -3)", "(1000000000000, 3)", "(" * 90, "(4, 3, )" + "+1" * 500])
def test_headers_of_npy_that_promise_the_impossible(tmp_path: Path, shape: str) -> None:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + b"\0" * 48
    with pytest.raises(InputError, match=r"ends early|no readable"):
        read(tmp_path, "x.npy", data)


@pytest.mark.parametrize("kind", ["'|S0'", "'|V0'", "'<U0'", "[]", "[('a', '<f4', (0,))]"])
def test_values_without_a_size_are_no_numbers(tmp_path: Path, kind: str) -> None:
    head = f"{{'descr': {kind}, 'fortran_order': False, 'shape': (1000000000000, 3), }}".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + b"\0" * 48
    with pytest.raises(InputError, match=r"holds values of type .*, not numbers"):
        read(tmp_path, "x.npy", data)


def test_npz_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    body = io.BytesIO()
    np.save(body, np.zeros((10_000_000, 3), dtype=np.float32))
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", body.getvalue())
    with pytest.raises(InputError, match="would unpack"):
        read_shape(tmp_path / "x.npz")


def pcd(mode: str, body: bytes, points: int = 4) -> bytes:
    head = (
        f"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {points}\nHEIGHT 1\nPOINTS {points}\nDATA {mode}\n"
    )
    return head.encode() + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pcd("binary", np.array(POINTS, "<f4").tobytes(), 10**12), "ends early"),
        (pcd("ascii", lines().encode(), -1), "-1 points"),
        (pcd("binary_compressed", struct.pack("<II", 8, 48) + b"\0" * 8), "damaged|ends early"),
        (pcd("binary_compressed", struct.pack("<II", 8, 4_000_000_000) + b"\0" * 8), "4000000000 bytes"),
        (pcd("binary_compressed", struct.pack("<II", 3, 12 * 10**8) + b"\xff\xff\xff", 10**8), "would unpack"),
        (pcd("ascii", lines().encode()).replace(b"TYPE F", b"TYPE O"), "header"),
        (pcd("ascii", lines().encode()).replace(b"COUNT 1", b"COUNT -9"), "header"),
    ],
)
def test_pcd_that_promises_the_impossible_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(tmp_path, "x.pcd", data)

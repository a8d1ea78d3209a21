"""OBJ: what reads all numbers of a plain file at once gives what reading line by line gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from act3d.errors import InputError
from act3d.readers import obj

WORDS = st.sampled_from(
    ["1", "2", "03", "12", "-1", "0", "+2", "1/2", "2//3", "3/1/2", "/1", "1.0", "f", "fo", "v", "#", "1#", "4/#5", "a",
     "1_0", "1/2\xa03", "2\x1f3", "٢", "9999999999", "123456789"]
)  # fmt: skip
PLAIN = st.sampled_from(["1", "2", "12", "3/4", "5//6", "7/8/9", "123456789"])
LINES = st.lists(
    st.tuples(st.sampled_from(["f ", "f\t", "fo ", "f  "]), st.lists(PLAIN | PLAIN | PLAIN | WORDS, max_size=5)),
    max_size=6,
)


@given(LINES, st.sampled_from([" ", "  ", "\t", " \t"]))
def test_plain_faces_are_those_of_a_reading_line_by_line(faces: list[tuple[str, list[str]]], blank: str) -> None:
    lines = [head + blank.join(words) for head, words in faces]
    found = obj._plain_corners(lines)
    if found is None:
        return
    corners, sizes = obj._any_corners(lines)
    assert found[0].tolist() == corners
    assert found[1].tolist() == sizes


def test_faces_of_usual_files_are_plain() -> None:
    for words in ("1 2 3", "1/1 2/2 3/3 4/4", "1//1 2//2 3//3", "10/2/3 20/2/3 30/1/1"):
        assert obj._plain_corners([f"f {words}", f"f\t{words} "]) is not None


VERTEX = st.lists(st.sampled_from(["1", "-2.5", "1e-3", ".5", "1_0", "nan", "v", "x", "#", "0,5"]), max_size=6)


@given(st.lists(VERTEX | st.just(["1", "2", "3"]), max_size=5), st.integers(3, 6))
def test_vertices_are_the_first_three_words_of_their_lines(rows: list[list[str]], width: int) -> None:
    lines = ["v " + " ".join((row * width)[:width]) for row in rows]
    first = [line.split()[1:4] for line in lines]
    try:
        expected = [[float(word) for word in row] for row in first]
        valid = all(len(row) == 3 for row in first)
    except ValueError:
        valid = False
    try:
        found, _ = obj._vertices(lines)
    except InputError:
        assert not valid
        return
    assert valid
    assert np.array_equal(found, np.array(expected).reshape(-1, 3), equal_nan=True)

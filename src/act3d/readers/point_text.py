"""Point clouds as text, one point a line: xyz and pts."""

import re
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.numpy_files import as_cloud
from act3d.readers.shape import Shape
from act3d.readers.text import decode, numbers

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*|,\d+)?|[.,]\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)
_COMMENT = ("#", "//", "%")


def read_text(path: Path) -> Shape:
    """One point a line; columns are separated by blanks, tabs, semicolons or commas.

    A line of names (which may be a comment) says which columns are x, y and z; without one they are the first three.
    A line with one number promises how many points follow (pts). Commas are decimal where something else separates.

    Raises:
        InputError: Lines of unequal length, fewer points than promised, numbers that can be read in two ways.
    """
    lines = [line.strip() for line in decode(read_regular(path)).splitlines() if line.strip()]
    comments = [line.lstrip("#/% \t") for line in lines if line.startswith(_COMMENT)]
    lines = [line for line in lines if not line.startswith(_COMMENT)]
    named = [line for line in lines[:1] if not _NUMBER.fullmatch(re.split(r"[\s,;]+", line.strip(" ,;\t"))[0])]
    lines = lines[len(named) :]
    if not lines:
        raise InputError("holds no points")
    rows = _blocks(_split(lines))
    columns = _columns(named, comments, len(rows[0]))
    shape = as_cloud(np.broadcast_to(0.0, (len(rows), len(rows[0]))))  # its shape shows whether it is transposed
    shape.vertices = numbers([[row[column] for column in columns or (0, 1, 2)] for row in rows], "its points")
    shape.note = "" if columns else shape.note
    return shape


def _split(lines: list[str]) -> list[list[str]]:
    """The fields of every line, with decimal points."""
    lines = [line.strip("; \t") for line in lines]  # a semicolon may end a line of commas
    text = "\n".join(lines)
    semicolons, commas, points = ";" in text, "," in text, "." in text
    if not commas:
        return [re.split(r"\s*;\s*|\s+", line) for line in lines] if semicolons else [s.split() for s in lines]
    if semicolons or _commas_are_inside(lines, text):
        if points:
            raise InputError("has both points and commas in its numbers")
        return [re.split(r"\s*;\s*|\s+", line.replace(",", ".")) for line in lines]
    rows = [re.split(r"\s*,\s*|\s+", line.strip(", ")) for line in lines]
    if not points and any(re.fullmatch(r"-?0\d+|-0", word) for row in rows[:1000] for word in row):
        raise InputError("separates both columns and decimals by commas")
    return rows


def _commas_are_inside(lines: list[str], text: str) -> bool:
    """Whether commas belong to numbers: none has a blank beside it, and blanks alone give three words a line or more.

    Some lines may have no comma (whole numbers), and some only the number of points that follow.
    """
    return not re.search(r",\s|\s,", text) and all(
        len(words) > 2 or (len(words) == 1 and words[0].isdigit()) for words in map(str.split, lines)
    )


def _blocks(rows: list[list[str]]) -> list[list[str]]:
    """The points, without the lines that say how many follow (one at the top, or one before every scan)."""
    if len(rows[0]) == 1:
        points: list[list[str]] = []
        at = 0
        while at < len(rows):
            if len(rows[at]) != 1 or not rows[at][0].isdigit():
                raise InputError(f"holds more points than the {len(points)} that it promises")
            count = int(rows[at][0])
            if at + 1 + count > len(rows):
                raise InputError(f"ends early: {count} points were promised, {len(rows) - at - 1} are there")
            points += rows[at + 1 : at + 1 + count]
            at += 1 + count
        rows = points
    lengths = {len(row) for row in rows}
    if not rows:
        raise InputError("holds no points")
    if len(lengths) > 1:
        raise InputError(f"its lines have between {min(lengths)} and {max(lengths)} columns")
    if lengths == {1} or lengths == {2}:
        raise InputError(f"has lines of {min(lengths)} columns; expected three or more numbers")
    return rows


def _columns(named: list[str], comments: list[str], count: int) -> list[int]:
    """The places of x, y and z, by the names in a header; [] where there are none."""
    for line in [*named, *reversed(comments)]:
        words = [re.split(r"[\[(]", word.strip("\"' "))[0].lower() for word in re.split(r"[\s,;]+", line) if word]
        if {"x", "y", "z"} <= set(words) and len(words) == count:
            return [words.index(axis) for axis in "xyz"]
        if line in named and len(words) == count:
            raise InputError(f"has columns {line[:100]!r}; expected x, y and z among them")
    return []

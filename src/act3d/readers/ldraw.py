"""LDraw parts: plain text that puts triangles, quadrilaterals and other files together.

The format is that of ldraw.org (article 218). One record a line: 0 comment or command, 1 another file under an affine
map, 2 and 5 lines (nothing to sample), 3 triangle, 4 quadrilateral. A part needs the library it comes from: a folder
with `parts/` (and `parts/s/`) and `p/` (and `p/48/`, `p/8/`). File names are spelt with `\\` and in any case. One unit
is 0.4 mm, and -y is up.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.shape import Shape
from act3d.readers.text import decode

MAX_DEPTH = 32  # files inside files
MAX_TRIANGLES = 8_000_000  # all expansions of one file together; the largest labelled part has 120 084 triangles
CACHED_TRIANGLES = 1_000_000  # kept between two files: 72 MB
Y_UP = np.array([1.0, -1.0, -1.0])


class _Text:
    """One file as it stands: its own triangles (T, 3, 3) and the files it places, each with matrix and offset."""

    def __init__(self, path: Path) -> None:
        corners: dict[str, list[list[str]]] = {"3": [], "4": []}
        placed: list[list[str]] = []
        self.names: list[str] = []
        for number, line in enumerate(decode(read_regular(path)).splitlines(), start=1):
            words = line.split()
            if not words or words[0] in ("0", "2", "5"):
                continue
            wanted = {"1": 14, "3": 11, "4": 14}.get(words[0])
            if wanted is None or len(words) < wanted:
                raise InputError(f"{path.name}, line {number}: {line.strip()[:60]!r} is no LDraw record")
            if words[0] == "1":
                placed.append(words[2:14])
                self.names.append(line.split(maxsplit=14)[14].strip().replace("\\", "/").lower() if words[14:] else "")
            else:
                corners[words[0]].append(words[2:wanted])
        try:
            triangles = np.array(corners["3"], dtype=np.float64).reshape(-1, 3, 3)
            quads = np.array(corners["4"], dtype=np.float64).reshape(-1, 4, 3)
            maps = np.array(placed, dtype=np.float64).reshape(-1, 12)
        except ValueError:
            raise InputError(f"{path.name}: a coordinate is not a number") from None
        self.triangles = np.concatenate([triangles, quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        self.offsets, self.matrices = maps[:, :3], maps[:, 3:].reshape(-1, 3, 3)


class _Library:
    """The files that others may name, found whatever the case of the name, and what they expand to."""

    def __init__(self, root: Path | None) -> None:
        self.files: dict[str, Path] = {}
        self.expanded: dict[Path, tuple[np.ndarray, int]] = {}  # triangles, and how many pieces are missing
        for folder in (root / "p", root / "parts") if root else ():  # a part goes before a primitive of the same name
            files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".dat")
            self.files |= {path.relative_to(folder).as_posix().lower(): path for path in files}
        self.paths = set(self.files.values())

    def trim(self) -> None:
        """Forget the expansions when they have become too many."""
        if sum(len(triangles) for triangles, _ in self.expanded.values()) > CACHED_TRIANGLES:
            self.expanded.clear()


class _Expansion:
    """Expanding one file. Every file in it is expanded once only: deep nesting costs no more than its triangles."""

    def __init__(self, path: Path, library: _Library) -> None:
        self.library = library
        own = path not in library.paths
        self.beside = {other.name.lower(): other for other in path.parent.iterdir()} if own else {}
        self.expanded: dict[Path, tuple[np.ndarray, int]] = {}  # of files outside the library
        self.made = 0
        self.first_missing = ""

    def expand(self, path: Path, inside: tuple[Path, ...] = ()) -> tuple[np.ndarray, int]:
        """Triangles (T, 3, 3) of a file with all it places, and how many of its pieces could not be found."""
        if path in inside:
            raise InputError(f"{path.name} contains itself")
        if len(inside) >= MAX_DEPTH:
            raise InputError(f"files lie inside files more than {MAX_DEPTH} deep")
        kept = self.library.expanded if path in self.library.paths else self.expanded
        if path in kept and inside:
            return kept[path]
        text = _Text(path)
        found, missing = [text.triangles], 0
        self._count(len(text.triangles))
        for name, matrix, offset in zip(text.names, text.matrices, text.offsets, strict=True):
            placed = self._find(name, path)
            if placed is None:
                self.first_missing = self.first_missing or name
                missing += 1
                continue
            triangles, lacking = self.expand(placed, (*inside, path))
            self._count(len(triangles))
            missing += lacking
            found.append(triangles @ matrix.T + offset)
        expanded = np.concatenate(found), missing
        if inside:  # the outermost file is read anew each time: it may have changed, and is seldom part of another
            kept[path] = expanded
        return expanded

    def _find(self, name: str, by: Path) -> Path | None:
        """A file outside the library may name one beside it; the library's files name the library's only."""
        beside = None if by in self.library.paths else self.beside.get(name)
        return beside or self.library.files.get(name)

    def _count(self, triangles: int) -> None:
        self.made += triangles
        if self.made > MAX_TRIANGLES:
            raise InputError(f"expands to more than {MAX_TRIANGLES} triangles")


def find_library(path: Path) -> Path | None:
    """The parts library of a file: the nearest folder above it with `parts/` and `p/`, else the variable LDRAWDIR."""
    above = (folder for folder in path.absolute().parents if (folder / "p").is_dir() and (folder / "parts").is_dir())
    named = Path(os.environ.get("LDRAWDIR", "")).absolute()
    return next(above, named if "LDRAWDIR" in os.environ and (named / "p").is_dir() else None)


@lru_cache(maxsize=1)
def _open(root: Path) -> _Library:
    return _Library(root)


def read_ldraw(path: Path) -> Shape:
    """A part or model as triangles, y up, in LDraw units of 0.4 mm.

    Pieces that the library does not hold are left out and counted in `Shape.missing`.

    Raises:
        InputError: Not an LDraw file, pieces without a library to look for them, a file inside itself, or an expansion
            beyond what any part needs.
    """
    path = path.absolute()
    root = find_library(path)
    library = _open(root) if root else _Library(None)
    library.trim()
    expansion = _Expansion(path, library)
    triangles, missing = expansion.expand(path)
    if missing and (root is None or not len(triangles)):
        where = f"is not in {root}" if root else "is not beside it; set LDRAWDIR to the folder with parts/ and p/"
        raise InputError(f"is put together from other files, and {expansion.first_missing} {where}")
    vertices = triangles.reshape(-1, 3) * Y_UP
    return Shape(vertices, np.arange(len(vertices)).reshape(-1, 3), missing=missing, up="y")


def read_header(path: Path) -> dict[str, str]:
    """The comments on top of a file: `title` (its first line), `author`, `licence` and `category`; "" for none."""
    header = dict.fromkeys(("title", "author", "licence", "category"), "")
    keys = {"author:": "author", "!license": "licence", "!category": "category"}
    for number, line in enumerate(decode(read_regular(path)).splitlines()):
        kind, _, rest = line.strip().partition(" ")
        if kind not in ("0", ""):
            break
        word, _, value = rest.strip().partition(" ")
        if number == 0:
            header["title"] = rest.strip()
        elif word.lower() in keys:
            header[keys[word.lower()]] = value.strip()
    return header

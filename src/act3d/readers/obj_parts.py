"""What a Wavefront OBJ file says of its faces: groups and materials; colours of materials, from the file beside it."""

import re
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import read_regular
from act3d.readers.text import decode

_STARTS = re.compile(r"^(?:[go]|usemtl)(?:[ \t]|$)", re.MULTILINE)


class Names:
    """Names that faces (F,) have, each from its line on: places in `names`, in the order of the file."""

    def __init__(self, lines: list[str], starts: list[int], faces: np.ndarray, head: int) -> None:
        found = [" ".join(lines[line][head:].split()) for line in starts]
        self.names = list(dict.fromkeys(["", *found]))
        places = np.array([0, *(self.names.index(name) for name in found)])
        own = places[np.searchsorted(np.array(starts), faces, side="right")]
        used, self.places = np.unique(own, return_inverse=True)
        self.names = [self.names[place] for place in used.tolist()]


def face_names(text: str, lines: list[str], face_starts: tuple[str, ...]) -> tuple[Names | None, Names | None]:
    """The groups (`g`, else objects, `o`) and materials (`usemtl`) of the faces; None where the file names none."""
    if not _STARTS.search(text):
        return None, None
    faces = np.array([place for place, line in enumerate(lines) if line[:2] in face_starts])

    def of(*words: str) -> Names | None:
        starts = [place for place, line in enumerate(lines) if line.startswith(words)]
        return Names(lines, starts, faces, len(words[0].strip())) if starts else None

    return of("g ", "g\t") or of("o ", "o\t"), of("usemtl ", "usemtl\t")


def material_colors(text: str, folder: Path, names: list[str]) -> np.ndarray | None:
    """The diffuse colours (materials, 3) in 0..1 of named materials, by the `mtllib` files in the folder.

    NaN where a material is not there or has a texture. None where there is no such file that can be read: the shape
    itself does not depend on it.
    """
    known: dict[str, tuple[float, ...]] = {}
    for words in re.findall(r"^mtllib[ \t]+(.+)$", text, re.MULTILINE):
        path = folder / words.strip()
        try:
            if path.resolve().is_relative_to(folder.resolve()):
                known |= _library(decode(read_regular(path)))
        except (InputError, OSError, ValueError):
            continue
    return np.array([known.get(name, (np.nan,) * 3) for name in names]) if known else None


def _library(text: str) -> dict[str, tuple[float, ...]]:
    """Material -> its diffuse colour."""
    found: dict[str, tuple[float, ...]] = {}
    name = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["newmtl"]:
            name = " ".join(words[1:])
        elif words[:1] == ["Kd"] and name not in found:
            try:
                numbers = [float(word) for word in words[1:4]]
            except ValueError:  # a spectral curve, which is a file of its own
                continue
            if numbers:
                found[name] = tuple(np.clip((numbers * 3)[:3], 0, 1).tolist())  # one number is a grey
        elif words[:1] == ["map_Kd"]:
            found[name] = (np.nan,) * 3
    return found

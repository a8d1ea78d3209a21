"""Files of one shape: exact copies under other names. A shape must not be in two splits."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from act3d.prepare.items import choose_test

HEAD = 1 << 16  # bytes that tell most files of equal size apart


def equal_files(paths: Sequence[Path]) -> list[list[int]]:
    """Return groups of places in `paths`, two or more each, whose files have the same content.

    Few files are read whole: those that share their size and their beginning with another one.
    """
    groups = [list(range(len(paths)))]
    for mark in (_size, _head, _whole):
        groups = [alike for group in groups for alike in _alike(group, paths, mark)]
    return groups


def _alike(group: list[int], paths: Sequence[Path], mark: Callable[[Path], object]) -> list[list[int]]:
    found: dict[object, list[int]] = {}
    for place in group:
        try:
            found.setdefault(mark(paths[place]), []).append(place)
        except (OSError, ValueError):  # its reader will say so
            continue
    return [places for key, places in found.items() if key is not None and len(places) > 1]


def _size(path: Path) -> int | None:
    about = os.stat(path)
    return about.st_size if stat.S_ISREG(about.st_mode) and about.st_size else None  # pipes and devices never end


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(HEAD)).digest()


def _whole(path: Path) -> bytes:
    if os.stat(path).st_size <= HEAD:  # compared already
        return b""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def same_stems(paths: Sequence[Path], classes: Sequence[str]) -> list[list[int]]:
    """Return groups of places in `paths`, two or more each, that differ in their suffix only and have one class."""
    found: dict[tuple[str, Path], list[int]] = {}
    for place, (path, cls) in enumerate(zip(paths, classes, strict=True)):
        found.setdefault((cls, path.with_suffix("")), []).append(place)
    return [places for places in found.values() if len(places) > 1]


def joined(groups: Iterable[Sequence[int]], count: int) -> list[list[int]]:
    """Return 0 ... count - 1 in groups, each sorted: numbers that share one of `groups` are together, also through
    others.
    """
    first = list(range(count))

    def lead(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    for group in groups:
        for other in group[1:]:
            low, high = sorted((lead(group[0]), lead(other)))
            first[high] = low
    found: dict[int, list[int]] = {}
    for number in range(count):
        found.setdefault(lead(number), []).append(number)
    return list(found.values())


def choose_test_shapes(
    names: Sequence[str], shapes: Sequence[Sequence[int]], classes: Sequence[str], fraction: float, seed: int
) -> set[str]:
    """Return the names that go to the test split: of every class a share of its shapes, each with all its files.

    Args:
        names: Of all files.
        shapes: Places of the files of every shape; a shape counts for the class of its first file.
        classes: Of all files; "" = unlabelled. A shape with an unlabelled copy is not tested on where there are
            classes: that copy is for pretraining.
        fraction, seed: See `choose_test`.
    """
    known = set(classes) - {""}
    by_class: dict[str, dict[str, Sequence[int]]] = {}
    for places in shapes:
        own = {classes[place] for place in places}
        if not (known and "" in own):
            by_class.setdefault(classes[places[0]], {})[names[places[0]]] = places
    tests: set[str] = set()
    for by_first in by_class.values():
        for first in choose_test(list(by_first), fraction, seed):
            tests.update(names[place] for place in by_first[first])
    return tests


def copies_note(
    names: Sequence[str], copies: Sequence[Sequence[int]], splits: Sequence[str], chosen: bool
) -> list[str]:
    """Return a line that says how many files are copies of others; none if there are none.

    Args:
        names, splits: Of all files.
        copies: See `equal_files`.
        chosen: Whether splits were chosen here, rather than given by the folders.
    """
    if not copies:
        return []
    count = sum(len(group) - 1 for group in copies)
    line = (
        f"{count} files are exact copies of others under another name ({' = '.join(names[i] for i in copies[0][:2])})"
    )
    apart = [group for group in copies if len({splits[place] for place in group}) > 1]
    if apart and not chosen:
        line += f"; {len(apart)} shapes are in two splits by it, as the folders say"
    return [line if apart else f"{line}: all copies get one split"]

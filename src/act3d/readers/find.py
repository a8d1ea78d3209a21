"""The files that a folder holds, through links too."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from act3d.files import printable


class Found(NamedTuple):
    """Readable files in a fixed order, how many others there are by suffix, and what was not followed."""

    files: list[Path]
    others: dict[str, int]
    notes: list[str]


def find_files(root: Path, suffixes: Collection[str], without: Path | None = None) -> Found:
    """Look through a folder and what links in it lead to; leave out hidden files and folders, and `without`.

    A folder is read once, under its own name rather than under that of a link to it. A link to a folder that it lies
    in is not followed, so links do not loop.
    """
    seen = {_identity(without)} if without is not None and without.exists() else set()
    files: list[Path] = []
    others: Counter[str] = Counter()
    notes: list[str] = []
    waiting = [root]  # folders that are no links, then links
    while waiting:
        links: list[Path] = []
        targets = {_identity(link) for link in waiting}  # each is read under its own link, not inside another one's
        for start in waiting:
            name = printable(start.relative_to(root))
            if start != root and start.parent.resolve().is_relative_to(start.resolve()):
                notes.append(f"{name} links to a folder that it lies in: not followed")
            elif _identity(start) in seen:
                notes.append(f"{name} links to a folder that is read already")
            else:
                for here, names, linked in _walk(start, seen, targets, notes):
                    links += linked
                    for file in names:
                        suffix = PurePath(file).suffix.lower()
                        if suffix in suffixes:
                            files.append(here / file)
                        else:
                            others[suffix] += 1
        waiting = sorted(links)
    return Found(sorted(files), dict(others), notes)


def _walk(
    start: Path, seen: set[tuple[int, int]], targets: set[tuple[int, int]], notes: list[str]
) -> Iterator[tuple[Path, list[str], list[Path]]]:
    """Every folder below `start` that was not seen yet, with the names of its files, and its links to folders."""

    def unreadable(error: OSError) -> None:
        notes.append(f"{printable(error.filename)} cannot be read: {error.strerror}")

    for folder, folders, names in os.walk(start, onerror=unreadable):
        here = Path(folder)
        seen.add(_identity(here))
        shown = sorted(name for name in folders if not name.startswith("."))
        linked = [here / name for name in shown if (here / name).is_symlink()]
        passed = seen | targets
        folders[:] = [name for name in shown if here / name not in linked and _identity(here / name) not in passed]
        yield here, sorted(name for name in names if not name.startswith(".")), linked


def _identity(folder: Path) -> tuple[int, int]:
    about = folder.stat()
    return about.st_dev, about.st_ino

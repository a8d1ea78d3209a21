"""Any folder of meshes and clouds: `class/file`, `class/train/file`, `train/class/file`, or just files."""

from collections.abc import Iterable
from pathlib import Path, PurePath

from act3d.errors import InputError
from act3d.files import names_of, plain_path, printable, unique_names
from act3d.prepare.copies import choose_test_shapes, copies_note, equal_files, joined, same_stems
from act3d.prepare.items import UNLABELED, Item, Source
from act3d.readers.by_suffix import READERS, UNREAD
from act3d.readers.find import find_files

SPLIT_FOLDERS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
SHOWN = 12  # suffixes or names in a note


def split_level(folders: Iterable[tuple[str, ...]]) -> int | None:
    """The level (0 or 1) whose folders are splits: all of them, or none is. `folders` are those above each file.

    A single folder called "train" among classes is a class: a vehicle.
    """
    for level in (0, 1):
        names = {parts[level].lower() for parts in folders if len(parts) > level}
        if names and names <= SPLIT_FOLDERS.keys():
            return level
    return None


def place_of(relative: PurePath, level: int | None) -> tuple[str, str]:
    """Class and split ("" for none) that the folders of a file say, where those at `level` are splits."""
    folders = list(relative.parts[:-1])
    split = SPLIT_FOLDERS[folders.pop(level).lower()] if level is not None and level < len(folders) else ""
    return (folders[0] if folders else ""), split


def folder_source(root: Path, out: Path, up: str, scale: float, unit: str, test_fraction: float, seed: int) -> Source:
    """List a folder. When no file says its split, `test_fraction` of every class goes to the test split, by seed.

    Files that differ only in their suffix, and exact copies, count as one shape and get the same split.
    """
    found = find_files(root, READERS, out)
    if not found.files:
        raise InputError(f"{root} holds no mesh or point cloud; known suffixes: {', '.join(READERS)}")
    relatives = [path.relative_to(root) for path in found.files]
    names = unique_names(relative.as_posix() for relative in relatives)
    level = split_level([relative.parts[:-1] for relative in relatives])
    places = [place_of(relative, level) for relative in relatives]
    labels = names_of(cls for cls, _ in places)
    classes = sorted(name for name in labels.values() if name)
    notes = [*found.notes, *others_note(found.others)]
    like_splits = [cls for cls in classes if cls.lower() in SPLIT_FOLDERS]
    if like_splits:
        notes.append(f"{', '.join(like_splits)}: taken for a class, since not all folders beside it are splits")
    copies = equal_files(found.files)
    tests: set[str] = set()
    if level is None:
        own = [labels[cls] for cls, _ in places]
        twins = same_stems(relatives, own)
        shapes = joined([*twins, *copies], len(relatives))
        tests = choose_test_shapes(names, shapes, own, test_fraction, seed)
        notes += _twins_note(names, twins)
    items = []
    for path, name, (cls, split) in zip(found.files, names, places, strict=True):
        if not split:
            split = UNLABELED if classes and not cls else "test" if name in tests else "train"
        items.append(Item(name, path, labels[cls], split))
    notes += copies_note(names, copies, [item.split for item in items], level is None)
    return Source("folder", printable(plain_path(root).name), items, classes, [], up, scale, unit, "", notes)


def _twins_note(names: list[str], twins: list[list[int]]) -> list[str]:
    """A note on shapes that come in several files."""
    if not twins:
        return []
    shown = " and ".join(names[place] for place in twins[0])
    return [f"{len(twins)} shapes come in several files ({shown}): all files of a shape get one split"]


def others_note(others: dict[str, int]) -> list[str]:
    """A note on files of other kinds, by suffix."""
    if not others:
        return []
    often = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(
        f"{printable(suffix) or 'no suffix'}: {count}" + (f", {UNREAD[suffix]}" if suffix in UNREAD else "")
        for suffix, count in often[:SHOWN]
    )
    more = ", ..." if len(often) > SHOWN else ""
    return [f"{sum(others.values())} files of other kinds were not read ({shown}{more})"]


def up_notes(source: Source) -> list[str]:
    """Notes on the up axis: inferred for files that do not declare it, and as declared by the others."""
    if source.up_asked or source.kind != "folder":
        return []
    notes = []
    if source.formats():
        silent = ", ".join(source.formats())
        notes.append(f"{silent}: which axis is up is not said; {source.up} is taken (else --up x, y or z)")
    if any(item.path.suffix.lower() == ".3mf" for item in source.items):
        notes.append(".3mf: z is up, as its standard says")
    return notes

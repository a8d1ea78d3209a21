"""Any folder of meshes and clouds: `class/file`, `class/train/file`, `train/class/file`, or just files."""

import os
from pathlib import Path

from act3d.errors import InputError
from act3d.prepare.items import UNLABELED, Item, Source, choose_test
from act3d.readers.by_suffix import READERS

SPLIT_FOLDERS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip


def find_files(root: Path, without: Path) -> tuple[list[Path], int]:
    """Readable files under `root` in a fixed order, and the number of others; leaves out hidden ones and `without`."""
    files: list[Path] = []
    others = 0
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and (here / n).absolute() != without.absolute())
        for name in sorted(names):
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in READERS:
                files.append(here / name)
            else:
                others += 1
    return sorted(files), others


def place_of(relative: Path) -> tuple[str, str]:
    """Class and split ("" for none) that the folders of a file say."""
    folders = list(relative.parts[:-1])
    split = ""
    # The split stands above the class or right below it.
    for level in range(min(2, len(folders))):
        if folders[level].lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[folders.pop(level).lower()]
            break
    return (folders[0] if folders else ""), split


def folder_source(root: Path, out: Path, up: str, scale: float, unit: str, test_fraction: float, seed: int) -> Source:
    """List a folder. When no file says its split, `test_fraction` of every class goes to the test split, by seed."""
    files, others = find_files(root, out)
    if not files:
        raise InputError(f"{root} holds no mesh or point cloud; known suffixes: {', '.join(READERS)}")
    placed = [(path, path.relative_to(root), *place_of(path.relative_to(root))) for path in files]
    classes = sorted({cls for _, _, cls, _ in placed if cls})
    given = any(split for *_, split in placed)
    tests: set[str] = set()
    if not given:
        for cls in classes or [""]:
            tests |= choose_test([relative.as_posix() for _, relative, c, _ in placed if c == cls], test_fraction, seed)
    items = []
    for path, relative, cls, split in placed:
        name = relative.as_posix()
        if not split:
            split = UNLABELED if classes and not cls else "test" if name in tests else "train"
        items.append(Item(name, path, cls, split))
    notes = [f"{others} files of other kinds left alone"] if others else []
    return Source("folder", root.absolute().name, items, classes, [], up, scale, unit, "", notes)

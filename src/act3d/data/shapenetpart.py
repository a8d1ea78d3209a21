"""ShapeNetPart as released: one text file a shape, x y z nx ny nz part on every line.

The same layout with categories of one's own is read too. Their parts are then named in `parts.json`,
{"category": {"part id": "name", ...}, ...}; without that file all shapes are read once to see which ids occur.
"""

import hashlib
import os
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np

from act3d.data.clouds import CloudDataset, generator_of
from act3d.data.layout import Found, Layout, Wanted, check_by_opening, wanted_splits
from act3d.data.reading import first_base, read_lines
from act3d.errors import InputError, reason_of
from act3d.files import read_json
from act3d.progress import track

FOLDER = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
CATEGORIES = "synsetoffset2category.txt"
LISTS = "train_test_split"
SPLITS = ("train", "val", "test")
PART_NAMES = "parts.json"
PART_LIMIT = 1000
COLUMNS = 7

# Parts of every category in the order of their ids, 0 to 49; names as in the dataset's documentation.
PARTS = {
    "Airplane": ["body", "wing", "tail", "engine"], "Bag": ["handle", "body"], "Cap": ["panels", "peak"],
    "Car": ["roof", "hood", "wheel", "body"], "Chair": ["back", "seat", "leg", "arm"],
    "Earphone": ["earphone", "headband", "wire"], "Guitar": ["head", "neck", "body"], "Knife": ["blade", "handle"],
    "Lamp": ["base", "shade", "bulb", "tube"], "Laptop": ["keyboard", "screen"],
    "Motorbike": ["gas tank", "seat", "wheel", "handle", "light", "frame"], "Mug": ["handle", "body"],
    "Pistol": ["barrel", "handle", "trigger"], "Rocket": ["body", "fin", "nose"],
    "Skateboard": ["wheel", "deck", "board"], "Table": ["top", "leg", "support"],
}  # fmt: skip
NAMES = [f"{category} {part}" for category, parts in PARTS.items() for part in parts]


def part_ids() -> dict[str, list[int]]:
    """The ids of every category's parts."""
    ids = iter(range(len(NAMES)))
    return {category: [next(ids) for _ in parts] for category, parts in PARTS.items()}


def find_base(root: Path) -> Path | None:
    """The released folder at `root` or directly in it; None if it is not there."""
    return first_base(root, (FOLDER,), (CATEGORIES,))


class ShapeNetPart(CloudDataset):
    """The released ShapeNetPart. Labels are categories, `parts` of a batch the part ids 0 to 49.

    Files are read when a shape is first asked for, and kept in memory from then on (about 0.6 GB for all).

    Args:
        root: The released folder, or the one that holds it.
        split: "train", "val", "test", several joined by "+", or None for all. The field trains on "train+val".
        points: Points per cloud, a random choice (a shape with fewer gives all of them, and some again).
        seed: Seed of that choice.
        normalize: "unit_sphere" or "none".

    Raises:
        InputError: A list or a shape is missing or damaged, a split or a category unknown.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        points: int | None = None,
        seed: int = 0,
        normalize: str = "unit_sphere",
    ) -> None:
        super().__init__(seed, normalize)
        base = find_base(Path(root))
        if base is None:
            raise InputError(f"{root} does not hold {CATEGORIES}")
        wanted = wanted_splits("ShapeNetPart", SPLITS, split)
        synsets = read_categories(base / CATEGORIES)
        listed = {name: read_list(base, name, synsets) for name in wanted}
        self.files = [path for files in listed.values() for path in files]
        if not self.files:
            raise InputError(f"{base}: the lists of {'+'.join(wanted)} are empty")
        missing = [path for path in self.files if not path.is_file()]
        if missing:
            raise InputError(f"{missing[0]} and {len(missing) - 1} more of {len(self.files)} listed shapes are missing")
        self.classes = list(synsets.values())
        released = set(self.classes) <= set(PARTS)
        self.name = "shapenetpart" if released else base.resolve().name
        self.names = [f"{path.parent.name}/{path.stem}" for path in self.files]
        self.split = [name for name, files in listed.items() for _ in files]
        place = {synset: i for i, synset in enumerate(synsets)}
        self.labels = np.array([place[path.parent.name] for path in self.files], dtype=np.int64)
        if released:
            self.parts, self.class_parts = list(NAMES), {k: v for k, v in part_ids().items() if k in self.classes}
        else:
            self.parts, self.class_parts = own_parts(base, synsets)
        self.points = 2048 if points is None else points
        known = [] if released else [*self.classes, *self.parts]
        every = [f"{path.parent.name}/{path.stem}" for path in every_file(base, synsets)]  # not of a split alone
        self.fingerprint = hashlib.sha256("\n".join([*every, *known]).encode()).hexdigest()[:16]
        self.describe(licence="ShapeNet terms" if released else None, source=base.resolve().name)
        self._shapes: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def shape(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """All points (P, 3) float32 of a shape and their part ids (P,) int16."""
        if row not in self._shapes:
            parts = self.class_parts[self.classes[self.labels[row]]]
            self._shapes[row] = read_shape(self.files[row], parts)
        return self._shapes[row]

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        points = np.empty((len(rows), self.points, 3), dtype=np.float32)
        parts = np.empty((len(rows), self.points), dtype=np.int64)
        for place, row in enumerate(rows.tolist()):
            stored, ids = self.shape(row)
            order = generator_of(self.seed, epoch, row).permutation(len(stored))
            chosen = np.resize(order, self.points)
            points[place], parts[place] = stored[chosen], ids[chosen]
        return points, parts


def read_categories(path: Path) -> dict[str, str]:
    """Synset -> category, in the order of the file, which is that of the labels."""
    rows = [line.split() for line in read_lines(path)]
    wrong = [row for row in rows if len(row) != 2 or row[1] in ("..", ".") or "/" in row[1]]
    if wrong or not rows:
        shown = " ".join(wrong[0]) if wrong else "nothing"
        raise InputError(f"{path}: {shown!r} is not a category and the name of its folder")
    named = {folder: category for category, folder in rows}
    if len(set(named.values())) < len(rows):
        raise InputError(f"{path} names a category or a folder twice")
    return named


def own_parts(base: Path, synsets: dict[str, str]) -> tuple[list[str], dict[str, list[int]]]:
    """Return names of all parts by id, and the ids of every category's parts, of a dataset that is not the release.

    Raises:
        InputError: `parts.json` is damaged or lacks a category, or without it a shape is damaged.
    """
    if (base / PART_NAMES).is_file():
        named = _named_parts(base / PART_NAMES, list(synsets.values()))
    else:
        named = {category: dict.fromkeys(ids, "") for category, ids in _occurring_parts(base, synsets).items()}
    holders = Counter(part for parts in named.values() for part in parts)
    if not holders:
        raise InputError(f"{base} has no part labels")
    names = [f"part {part}" for part in range(max(holders) + 1)]
    for category, parts in named.items():
        for part, name in parts.items():
            if holders[part] == 1 or name:
                names[part] = f"{category} {name or part}" if holders[part] == 1 else name
    return names, {category: sorted(parts) for category, parts in named.items()}


def _named_parts(path: Path, categories: list[str]) -> dict[str, dict[int, str]]:
    content = read_json(path)
    try:
        named = {
            category: {int(part): str(name) for part, name in content[category].items()} for category in categories
        }
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not name the parts of every category by their ids ({reason_of(error)})"
        ) from None
    if any(not 0 <= part < PART_LIMIT for parts in named.values() for part in parts):
        raise InputError(f"{path}: ids of parts must be 0 to {PART_LIMIT - 1}")
    return named


def _occurring_parts(base: Path, synsets: dict[str, str]) -> dict[str, list[int]]:
    """The part ids that occur in the shapes of every category, whatever split they are of."""
    files = every_file(base, synsets)
    ids = _parts_in(tuple((path, _stamp(path)) for path in files))
    found: dict[str, set[int]] = {category: set() for category in synsets.values()}
    for path, parts in zip(files, ids, strict=True):
        found[synsets[path.parent.name]].update(parts)
    return {category: sorted(parts) for category, parts in found.items()}


@lru_cache(maxsize=4)
def _parts_in(files: tuple[tuple[Path, tuple[int, int]], ...]) -> list[list[int]]:
    """The part ids of every file. Kept: a command opens its splits one after the other, and each needs them all."""
    paths = track((path for path, _ in files), len(files), "looking for parts", "shapes")
    return [np.unique(read_shape(path, None)[1]).tolist() for path in paths]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = os.stat(path)
    except OSError:  # reading it will say so
        return 0, 0
    return about.st_size, about.st_mtime_ns


def every_file(base: Path, synsets: dict[str, str]) -> list[Path]:
    """The files that the lists of all splits name, as far as there are lists."""
    return [path for split in SPLITS if _list_of(base, split).is_file() for path in read_list(base, split, synsets)]


def _list_of(base: Path, split: str) -> Path:
    return base / LISTS / f"shuffled_{split}_file_list.json"


def read_list(base: Path, split: str, synsets: dict[str, str]) -> list[Path]:
    """The files that one split lists; its entries read shape_data/<synset>/<id>."""
    path = _list_of(base, split)
    listed = read_json(path)
    if not isinstance(listed, list):
        raise InputError(f"{path} does not hold a list of shapes")
    entries = [str(entry).split("/") for entry in listed]
    wrong = ["/".join(entry) for entry in entries if len(entry) < 2 or entry[-2] not in synsets or ".." in entry]
    if wrong:
        raise InputError(f"{path}: entry {wrong[0]!r} is not of the form shape_data/<synset>/<id>")
    return [base / entry[-2] / f"{entry[-1]}.txt" for entry in entries]


def read_shape(path: Path, parts: list[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) and part ids (P,) of one file; `parts` are those that its category has, None = not known.

    Raises:
        InputError: Not seven numbers a line, no points, or a part that its category does not have.
    """
    try:
        rows = np.array(path.read_bytes().split(), dtype=np.float64).reshape(-1, COLUMNS)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not {COLUMNS} numbers a line ({error})") from None
    ids = rows[:, 6]
    if not len(rows) or not np.isfinite(rows[:, :3]).all():
        raise InputError(f"{path} holds no points, or some that are not finite")
    if not np.isfinite(ids).all() or (ids != ids.round()).any() or ids.min() < 0 or ids.max() >= PART_LIMIT:
        raise InputError(f"{path} has part labels that are no whole numbers from 0 to {PART_LIMIT - 1}")
    if parts is not None and not np.isin(ids, parts).all():
        raise InputError(f"{path} has part {np.setdiff1d(ids, parts)[0]:g}; its category has {parts}")
    return rows[:, :3].astype(np.float32), ids.astype(np.int16)


def _open(base: Path, wanted: Wanted) -> ShapeNetPart:
    return ShapeNetPart(base, wanted.split, wanted.points, wanted.seed, wanted.normalize or "unit_sphere")


def _check(base: Path) -> list[Found]:
    found = Found("ShapeNetPart", command="segment", unit="shapes")
    return [check_by_opening(found, lambda split: ShapeNetPart(base, split), SPLITS)]


LAYOUT = Layout("ShapeNetPart", find_base, _open, _check)

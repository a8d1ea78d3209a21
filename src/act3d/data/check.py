"""Looking at a folder before anything is trained on it: which dataset it is, what is there, what is missing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from act3d.data import fewshot, modelnet40, open_dataset, rooms, scanobjectnn
from act3d.data.arrays import check_clouds
from act3d.data.clouds import CloudDataset
from act3d.data.fingerprint import of_files
from act3d.data.shapenet55 import find_layout
from act3d.errors import InputError


@dataclass
class Part:
    """One split or fold group: clouds, points per cloud, and clouds per class ("" = unlabelled)."""

    clouds: int
    points: int
    classes: dict[str, int] = field(default_factory=dict)


@dataclass
class Found:
    """One dataset in a folder.

    dataset, variant: what it is; variant is empty where there is one kind only.
    fingerprint: goes into every result from this data; None when too much is missing.
    parts: by split. problems: what is missing, cut off or wrong, one line each; empty = usable.
    notes: what is good to know and no problem.
    """

    dataset: str
    variant: str = ""
    fingerprint: str | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(root: str | Path) -> list[Found]:
    """All datasets that a folder holds in a form act3d reads; every cloud is read and looked at.

    Raises:
        InputError: no such folder, or nothing in it that act3d knows.
    """
    folder = Path(root)
    if str(root) != "sample" and not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    found = list(_known(folder, str(root)))
    if not found:
        raise InputError(
            f"{folder} holds no dataset that act3d knows (looked for: prepared folder, ShapeNet-55, ModelNet40, "
            "few-shot folds, ScanObjectNN, ShapeNetPart, rooms)"
        )
    return found


def _known(folder: Path, root: str) -> Iterator[Found]:
    if root == "sample" or (folder / "dataset.json").is_file():
        yield _by_opening("prepared", root, None)
        return
    if find_layout(folder) is not None:
        yield _by_opening("ShapeNet-55", root, ("train", "test"))
    if (base := modelnet40.find_base(folder)) is not None:
        yield _modelnet40(base)
    if (base := fewshot.find_base(folder)) is not None:
        yield _fewshot(base)
    if (base := scanobjectnn.find_base(folder)) is not None:
        yield from (_scanobjectnn(base, variant) for variant in scanobjectnn.variants_in(base))
        if not scanobjectnn.variants_in(base):
            yield Found("ScanObjectNN", problems=[f"{base}: main_split without any of the released .h5 files"])
    if next(folder.rglob("synsetoffset2category.txt"), None) is not None:
        yield _by_opening("ShapeNetPart", root, None)
    if root != "sample" and rooms.find_rooms(folder) is not None:
        yield _rooms(folder)


def _by_opening(dataset: str, root: str, splits: tuple[str, ...] | None) -> Found:
    """Open a dataset as training would, split by split, and read all of it."""
    found = Found(dataset)
    try:
        whole = open_dataset(root)
    except InputError as error:
        found.problems.append(str(error))
        return found
    found.variant, found.fingerprint = (whole.name if dataset == "prepared" else ""), whole.fingerprint
    for split in splits or dict.fromkeys(getattr(whole, "split", ["all"])):
        try:
            clouds = whole if split == "all" else open_dataset(root, split)
            found.parts[split] = _part(clouds)
            found.problems += _bad_clouds(clouds)
        except InputError as error:
            found.problems.append(str(error))
    return found


def _rooms(folder: Path) -> Found:
    """Rooms for scene segmentation, area by area; every room is read. Classes count points here."""
    found = Found("rooms")
    try:
        opened = rooms.open_rooms(folder)
    except InputError as error:
        found.problems.append(str(error))
        return found
    found.variant, found.fingerprint = opened.name, opened.fingerprint
    for room in opened.rooms:
        area = opened.splits.get(room) or "_".join(room.split("_")[:2])
        try:
            read = opened.read(room)
        except InputError as error:
            found.problems.append(str(error))
            continue
        part = found.parts.setdefault(area, Part(0, len(read.points)))
        part.clouds, part.points = part.clouds + 1, min(part.points, len(read.points))
        for label, count in zip(*np.unique(read.labels, return_counts=True), strict=True):
            name = opened.classes[label] if label >= 0 else ""
            part.classes[name] = part.classes.get(name, 0) + int(count)
    found.notes.append("classes count points, and `points` is the smallest room's")
    return found


def _part(clouds: CloudDataset) -> Part:
    counts = Counter(clouds.labels.tolist())
    named = {clouds.classes[i] if i >= 0 else "": n for i, n in sorted(counts.items())}
    return Part(len(clouds), clouds.points, named)


def _bad_clouds(clouds: CloudDataset) -> list[str]:
    bad = []
    for start in range(0, len(clouds), 64):
        rows = np.arange(start, min(start + 64, len(clouds)))
        points = clouds.read(rows, 0)[0].numpy()
        bad += [clouds.names[rows[i]] for i in np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))]
    return [f"{len(bad)} clouds hold coordinates that are not finite, the first {bad[0]}"] if bad else []


def _counts(labels: np.ndarray, classes: tuple[str, ...] | list[str]) -> dict[str, int]:
    return {classes[i]: n for i, n in sorted(Counter(labels.tolist()).items())}


def _scanobjectnn(base: Path, variant: str) -> Found:
    found = Found("ScanObjectNN", variant)
    files = [scanobjectnn.file_of(base, variant, split) for split in scanobjectnn.SPLITS]
    for split, path in zip(scanobjectnn.SPLITS, files, strict=True):
        try:
            points, labels = scanobjectnn.read_h5(path)
            found.parts[split] = Part(len(points), points.shape[1], _counts(labels, scanobjectnn.CLASSES))
        except InputError as error:
            found.problems.append(str(error))
    found.fingerprint = of_files(path for path in files if path.is_file())
    return found


def _modelnet40(base: Path) -> Found:
    found = Found("ModelNet40")
    try:
        classes = modelnet40.read_lines(base / modelnet40.SHAPE_NAMES)
    except InputError as error:
        found.problems.append(str(error))
        return found
    caches = []
    for split in modelnet40.SPLITS:
        cache = base / modelnet40.cache_name(split)
        try:
            if cache.is_file():
                caches.append(cache)
                points, labels = modelnet40.read_cache(cache, len(classes))
                check_clouds(points, labels, len(classes), str(cache))
                found.parts[split] = Part(len(points), points.shape[1], _counts(labels, classes))
            else:
                found.parts[split] = _text_split(base, split, found)
        except InputError as error:
            found.problems.append(str(error))
    if len(caches) == len(modelnet40.SPLITS):
        found.fingerprint = of_files(caches)
    return found


def _text_split(base: Path, split: str, found: Found) -> Part:
    """A split that has text files only; every file is glanced at, and the first of each class is read."""
    shapes = modelnet40.listed(base, split)
    good: dict[str, list[str]] = {}
    bad, sizes = [], []
    for cls, shape in shapes:
        path = base / cls / f"{shape}.txt"
        try:
            sizes.append(modelnet40.glance(path))
            if cls not in good:
                modelnet40.read_shape(path)
            good.setdefault(cls, []).append(shape)
        except InputError as error:
            bad.append(str(error))
    if bad:
        more = f"; {len(bad) - 1} more of {len(shapes)} listed shapes cannot be used" if len(bad) > 1 else ""
        found.problems.append(bad[0] + more)
    found.notes.append(
        f"{modelnet40.cache_name(split)} is not there; the first training run makes it from the text files"
    )
    counts = {cls: len(names) for cls, names in good.items()}
    return Part(sum(counts.values()), min(sizes, default=0), counts)


def _fewshot(base: Path) -> Found:
    found = Found("ModelNet40 few-shot")
    mark = fewshot.fingerprint(base)
    drawn = (base / fewshot.RECORD).is_file()
    if drawn:
        try:
            about = fewshot.origin(base)
        except InputError as error:
            found.problems.append(str(error))
            return found
        found = Found("few-shot folds", about["name"])
        found.notes.append(f"drawn by act3d from data {about.get('fingerprint')}, draw_seed {about.get('draw_seed')}")
    for (way, shot), folds in fewshot.settings_in(base).items():
        missing = [fold for fold in range(fewshot.FOLDS) if fold not in folds]
        if missing:  # of drawn folds, as many as were wanted are there
            kept = found.notes if drawn else found.problems
            kept.append(f"{base}/{way}way_{shot}shot lacks folds {', '.join(map(str, missing))}")
        sizes: Counter[tuple[int, int, int]] = Counter()
        for fold in folds:
            try:
                task = fewshot.read_fold(base, way, shot, fold, mark)
                sizes[len(task.train), len(task.test), task.train.points] += 1
            except InputError as error:
                found.problems.append(str(error))
        for (train, test, points), count in sorted(sizes.items()):
            name = f"{way}-way {shot}-shot, {count} fold{'s' if count > 1 else ''} of {train} + {test} shapes"
            found.parts[name] = Part(train + test, points)
    found.fingerprint = mark
    return found

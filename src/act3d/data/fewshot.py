"""Few-shot tasks: the released ModelNet40 folds, and folds drawn from any labelled dataset.

A fold is a task of `way` classes: `shot` training shapes and 20 test shapes of each. The released files are
`{way}way_{shot}shot/{fold}.pkl` = {"train": [(points, label, class)], "test": [...]}. Folds that
act3d drew have the same layout, with a `folds.json` beside them that names their source.
"""

import pickle
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from act3d.data import safe_pickle
from act3d.data.arrays import ArrayClouds, check_clouds
from act3d.data.clouds import CloudDataset
from act3d.data.fingerprint import of_files
from act3d.data.layout import Found, Layout, Part
from act3d.data.reading import first_base
from act3d.errors import InputError
from act3d.files import atomic_path, read_json, write_json

QUERIES = 20
SETTINGS = ((5, 10), (5, 20), (10, 10), (10, 20))
FOLDS = 10
RECORD = "folds.json"
RELEASED = {"name": "modelnet40-fewshot", "licence": "ModelNet terms of use", "normalization": "unit_sphere"}
_FOLDER = re.compile(r"(\d+)way_(\d+)shot")


class Fold(NamedTuple):
    """Training and test clouds of one task; their labels are 0 .. way - 1."""

    train: CloudDataset
    test: CloudDataset


def find_base(root: Path) -> Path | None:
    """The folder that holds `5way_10shot` and the like; None if there is none."""
    marks = [f"{way}way_{shot}shot" for way, shot in SETTINGS]
    base = first_base(root, ("ModelNetFewshot",), marks)
    if base is None and root.is_dir() and any(_FOLDER.fullmatch(p.name) and p.is_dir() for p in root.iterdir()):
        return root
    return base


def file_of(base: Path, way: int, shot: int, fold: int) -> Path:
    """The released file of one fold."""
    return base / f"{way}way_{shot}shot" / f"{fold}.pkl"


def settings_in(base: Path) -> dict[tuple[int, int], list[int]]:
    """The existing folds, by (way, shot)."""
    found: dict[tuple[int, int], list[int]] = {}
    for folder in sorted(base.iterdir()):
        if (match := _FOLDER.fullmatch(folder.name)) and folder.is_dir():
            folds = sorted(int(path.stem) for path in folder.glob("*.pkl") if path.stem.isdigit())
            found[int(match[1]), int(match[2])] = folds
    return dict(sorted(found.items()))


def fingerprint(base: Path) -> str:
    """The fingerprint of all existing folds."""
    return of_files(base.glob("*way_*shot/*.pkl"))


def origin(base: Path) -> dict[str, Any]:
    """Name, licence and normalization of folds: those of the release, or of what act3d drew them from.

    Raises:
        InputError: `folds.json` is damaged.
    """
    if not (base / RECORD).is_file():
        return RELEASED
    record = _read_record(base)
    return {**record, "name": f"{record['name']}-fewshot"}


def _read_record(base: Path) -> dict[str, Any]:
    record = read_json(base / RECORD)
    if not isinstance(record, dict) or not {"name", "licence", "normalization"} <= record.keys():
        raise InputError(f"{base / RECORD} does not say name, licence and normalization")
    return record


def keep_record(base: Path, train: CloudDataset, test: CloudDataset, seed: int, queries: int) -> None:
    """Write `folds.json` into a folder that is to hold folds of these clouds.

    Raises:
        InputError: the folder holds folds of something else, which must not be mixed with these.
    """
    record = {
        "name": train.name,
        "fingerprint": train.fingerprint,
        "licence": train.meta.get("licence"),
        "normalization": train.normalization,
        "clouds": [len(train), len(test)],
        "points": train.points,
        "draw_seed": seed,
        "queries": queries,
    }
    if not (base / RECORD).exists():
        if any(base.glob("*way_*shot/*.pkl")):
            raise InputError(f"{base} holds folds that act3d did not draw (no {RECORD}); choose another folder")
        write_json(base / RECORD, record)
        return
    there = _read_record(base)
    for key, value in record.items():
        if there.get(key) != value:
            raise InputError(f"{base} holds folds with {key} {there.get(key)}, not {value}; choose another folder")


def read_fold(base: Path, way: int, shot: int, fold: int, mark: str | None = None) -> Fold:
    """One fold from its file; released ones are centred and scaled to the unit sphere as ModelNet40's are.

    Args:
        base: The folder of `5way_10shot` and the like.
        way, shot, fold: Which one.
        mark: The fingerprint of all folds, if it is known already.

    Raises:
        InputError: no such file, or it is cut off, hostile, or not a task of `way` classes.
    """
    path = file_of(base, way, shot, fold)
    content = safe_pickle.load(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in ("train", "test")):
        raise InputError(f'{path} does not hold {{"train": [...], "test": [...]}}')
    about = {**origin(base), "fingerprint": mark or fingerprint(base)}
    return Fold(*(_read_part(path, part, content[part], way, about) for part in ("train", "test")))


def _read_part(path: Path, part: str, triples: list[Any], way: int, about: dict[str, Any]) -> ArrayClouds:
    where = f"{path} ({part})"
    if not triples or not all(isinstance(item, tuple | list) and len(item) >= 2 for item in triples):
        raise InputError(f"{where} does not hold (points, label, class) triples")
    try:
        points = np.stack([np.asarray(item[0], dtype=np.float32) for item in triples])
        labels = np.array([int(np.asarray(item[1]).reshape(-1)[0]) for item in triples], dtype=np.int64)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{where} holds something that is not numbers ({error})") from None
    if points.ndim != 3 or points.shape[2] < 3:
        raise InputError(f"{where} holds clouds of shape {points.shape[1:]}; expected (points, 3 or more)")
    points = np.ascontiguousarray(points[:, :, :3])
    check_clouds(points, labels, way, where)
    if len(set(labels.tolist())) != way or labels.min() < 0:
        raise InputError(f"{where} has {len(set(labels.tolist()))} classes, not {way}")
    named = {int(label): str(item[2]) for label, item in zip(labels, triples, strict=True) if len(item) > 2}
    classes = [named.get(label, str(label)) for label in range(way)]
    names = [f"{part}/{row}" for row in range(len(labels))]
    kept = {key: about[key] for key in ("name", "fingerprint", "licence")}
    return ArrayClouds(points, labels, classes, names, kept, normalization=about["normalization"])


class FoldRows(NamedTuple):
    """The rows of a task in its datasets, and their labels within the task; classes are ids in the dataset."""

    classes: np.ndarray
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def usable_classes(train: np.ndarray, test: np.ndarray, shot: int, queries: int) -> np.ndarray:
    """Ids of the classes with `shot` training and `queries` test shapes, from the labels of both."""
    ids = np.unique(train[train >= 0])
    return np.array([i for i in ids if (train == i).sum() >= shot and (test == i).sum() >= queries], dtype=np.int64)


def choose_queries(train: np.ndarray, test: np.ndarray, ways: Sequence[int], shots: Sequence[int], wanted: int) -> int:
    """Return how many test shapes a class the largest task can have, at most `wanted`: one number for all tasks.

    Raises:
        InputError: not enough classes with enough training shapes and one test shape.
    """
    way, shot = max(ways), max(shots)
    counts = sorted((int((test == i).sum()) for i in usable_classes(train, test, shot, 1)), reverse=True)
    if len(counts) < way:
        raise InputError(
            f"a {way}-way {shot}-shot task needs {way} classes with {shot} training shapes and one test shape or more; "
            f"there are {len(counts)}; --tasks.ways and --tasks.shots ask for fewer"
        )
    return min(wanted, counts[way - 1])


def draw_fold(
    train: np.ndarray, test: np.ndarray, way: int, shot: int, fold: int, seed: int = 0, queries: int = QUERIES
) -> FoldRows:
    """Draw one task from the labels of training and test shapes: a pure function of its arguments.

    Raises:
        InputError: not enough classes with enough shapes.
    """
    usable = usable_classes(train, test, shot, queries)
    if len(usable) < way:
        raise InputError(
            f"a {way}-way {shot}-shot task needs {way} classes with {shot} training and {queries} test shapes; "
            f"there are {len(usable)}"
        )
    rng = np.random.default_rng([seed % 2**32, way, shot, fold])
    classes = rng.permutation(usable)[:way]
    chosen = [rng.permutation(np.flatnonzero(train == i))[:shot] for i in classes]
    asked = [rng.permutation(np.flatnonzero(test == i))[:queries] for i in classes]
    places = np.arange(way)
    return FoldRows(classes, np.concatenate(chosen), places.repeat(shot), np.concatenate(asked), places.repeat(queries))


class Task(CloudDataset):
    """Some clouds of a dataset, with labels of a task of their own."""

    def __init__(self, source: CloudDataset, rows: np.ndarray, labels: np.ndarray, classes: Sequence[str]):
        super().__init__(source.seed, source.normalization)
        self.source, self.rows = source, rows
        self.name, self.fingerprint, self.points = source.name, source.fingerprint, source.points
        self.parts, self.class_parts = [], {}
        self.labels, self.classes = labels.astype(np.int64), list(classes)
        self.names = [source.names[row] for row in rows]
        self.meta = {**source.meta, "classes": self.classes}

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, None]:
        return self.source.read(self.rows[rows], epoch)[0], None


def make_fold(
    train: CloudDataset,
    test: CloudDataset,
    way: int,
    shot: int,
    fold: int,
    seed: int = 0,
    queries: int = QUERIES,
) -> Fold:
    """One task from a labelled dataset: training shapes from `train`, test shapes from `test`."""
    rows = draw_fold(train.labels, test.labels, way, shot, fold, seed, queries)
    names = [train.classes[i] for i in rows.classes]
    return Fold(Task(train, rows.train, rows.train_labels, names), Task(test, rows.test, rows.test_labels, names))


def write_fold(base: Path, task: Fold, way: int, shot: int, fold: int) -> Path:
    """Write a fold in the released form, whole or not at all; normals are not kept."""
    content = {}
    for part, clouds in (("train", task.train), ("test", task.test)):
        points = clouds.fetch(range(len(clouds)), 0)["points"].numpy()
        content[part] = [
            (cloud, int(label), clouds.classes[label]) for cloud, label in zip(points, clouds.labels, strict=True)
        ]
    path = file_of(base, way, shot, fold)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pickle.dump(content, file)
    return path


def _check(base: Path) -> list[Found]:
    found = Found("ModelNet40 few-shot", command="fewshot", unit="shapes")
    mark = fingerprint(base)
    drawn = (base / RECORD).is_file()
    if drawn:
        try:
            about = origin(base)
        except InputError as error:
            found.problems.append(str(error))
            return [found]
        found = Found("few-shot folds", about["name"], command="fewshot", unit="shapes")
        found.notes.append(f"drawn by act3d from data {about.get('fingerprint')}, draw_seed {about.get('draw_seed')}")
    for (way, shot), folds in settings_in(base).items():
        missing = [fold for fold in range(FOLDS) if fold not in folds]
        if missing:  # of drawn folds, as many as were wanted are there
            kept = found.notes if drawn else found.problems
            kept.append(f"{base}/{way}way_{shot}shot lacks folds {', '.join(map(str, missing))}")
        sizes: Counter[tuple[int, int, int]] = Counter()
        for fold in folds:
            try:
                task = read_fold(base, way, shot, fold, mark)
                sizes[len(task.train), len(task.test), task.train.points] += 1
            except InputError as error:
                found.problems.append(str(error))
        for (train, test, points), count in sorted(sizes.items()):
            name = f"{way}-way {shot}-shot, {count} fold{'s' if count > 1 else ''} of {train} + {test} shapes"
            found.parts[name] = Part(train + test, points)
    found.fingerprint = mark
    return [found]


LAYOUT = Layout("few-shot folds", find_base, None, _check, instead="run them by act3d fewshot")

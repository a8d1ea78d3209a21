"""The released ModelNet40 (Wu et al., CVPR 2015), resampled: text files, and a cache of 8192 points per shape.

The cache is the one that the released code makes and reads: `modelnet40_{train,test}_8192pts_fps.dat`, a pickle of
[list of (8192, 6) float32, list of (1,) int32]. Where it is missing it is built here from the text files: by several
processes, once even if several runs want it at the same time, and whole or not at all.
"""

import os
import pickle
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from act3d.data import safe_pickle
from act3d.data.arrays import ArrayClouds, check_clouds
from act3d.data.fingerprint import of_files
from act3d.data.layout import Found, Layout, Part, Wanted, count_classes, wanted_splits
from act3d.data.reading import first_base, read_lines
from act3d.errors import InputError, reason_of
from act3d.files import atomic_path
from act3d.progress import Progress

CACHED = 8192
SPLITS = ("train", "test")
SHAPE_NAMES = "modelnet40_shape_names.txt"
FOLDERS = ("modelnet40_normal_resampled", "ModelNet/modelnet40_normal_resampled")
CHUNK = 16  # shapes that one process samples at a time


def find_base(root: Path) -> Path | None:
    """The folder that holds the lists or the cache; None if there is none."""
    return first_base(root, FOLDERS, (SHAPE_NAMES, *(cache_name(split) for split in SPLITS)))


def cache_name(split: str, points: int = CACHED) -> str:
    """The released name of a split's cache."""
    return f"modelnet40_{split}_{points}pts_fps.dat"


def listed(base: Path, split: str) -> list[tuple[str, str]]:
    """(class, shape) of every shape of a split, as its list has it: `night_stand_0001` is of class `night_stand`."""
    pairs = [(line.rpartition("_")[0], line) for line in read_lines(base / f"modelnet40_{split}.txt")]
    known = set(read_lines(base / SHAPE_NAMES))
    wrong = [shape for cls, shape in pairs if cls not in known]
    if wrong:
        raise InputError(f"{base / f'modelnet40_{split}.txt'}: {wrong[0]!r} is of no class in {SHAPE_NAMES}")
    return pairs


def read_shape(path: Path) -> np.ndarray:
    """The rows x, y, z, nx, ny, nz of one text file, (n, 6) float32."""
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({reason_of(error)})") from None
    if rows.shape[1] < 6 or not np.isfinite(rows).all():
        what = "values that are not finite" if rows.shape[1] >= 6 else f"{rows.shape[1]} columns"
        raise InputError(f"{path} holds {what}; expected x, y, z, nx, ny, nz")
    return rows[:, :6]


def glance(path: Path) -> int:
    """How many points a text file has, by a look at its bytes: a hundredth of the time that reading the numbers takes.

    Raises:
        InputError: missing, cut off, values that are not finite, or too few points for the cache.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing")
    content = path.read_bytes().rstrip().lower()
    points = content.count(b"\n") + 1
    if b"n" in content:  # of nan and inf; there is no other letter than e in a number
        raise InputError(f"{path} holds values that are not finite")
    if content.rpartition(b"\n")[2].count(b",") != 5 or points < CACHED:
        raise InputError(
            f"{path} is cut off, or too short: {points} points of x, y, z, nx, ny, nz; {CACHED} are needed"
        )
    return points


def sample_shapes(paths: Sequence[Path], points: int) -> list[np.ndarray]:
    """Farthest points of each text file, from its first row on: (points, 6) float32 each."""
    import torch

    from act3d.geometry import farthest_point_sample

    sampled = []
    for path in paths:
        rows = read_shape(path)
        if len(rows) < points:
            raise InputError(f"{path} has {len(rows)} points, {points} are needed")
        picks = farthest_point_sample(torch.from_numpy(rows[None, :, :3].copy()), points)[0]
        sampled.append(rows[picks.numpy()])
    return sampled


def build_cache(base: Path, split: str, points: int = CACHED, workers: int | None = None) -> Path:
    """Make a split's cache from the text files, unless it is there.

    Safe to call from several processes at once: one builds, the others wait and find it done. Killed at any moment
    it leaves no cache, or a whole one.

    Args:
        base: The folder of the lists.
        split: "train" or "test".
        points: Points per shape.
        workers: Processes; by default as many as there are cores, and this one alone for a few shapes.

    Raises:
        InputError: text files are missing or damaged, or the folder cannot be written.
    """
    from filelock import FileLock

    path = base / cache_name(split, points)
    if path.is_file():
        return path
    if not os.access(base, os.W_OK):
        raise InputError(f"{base} cannot be written, and {path.name} has to be made there once")
    with FileLock(base / f".{path.name}.lock"):
        if path.is_file():  # another process made it while this one waited
            return path
        shapes = listed(base, split)
        place = {name: i for i, name in enumerate(read_lines(base / SHAPE_NAMES))}
        files = [base / cls / f"{shape}.txt" for cls, shape in shapes]
        clouds = _sample_all(files, points, workers, path.name)
        labels = [np.array([place[cls]], dtype=np.int32) for cls, _ in shapes]
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            pickle.dump([clouds, labels], file)
    return path


def _sample_all(files: list[Path], points: int, workers: int | None, what: str) -> list[np.ndarray]:
    workers = (os.cpu_count() or 1) if workers is None else workers
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    if workers < 2 or len(chunks) < 2:
        return _joined((sample_shapes(chunk, points) for chunk in chunks), len(files), what)
    # Not forked: a forked process could inherit a lock that a thread of this one holds.
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=get_context("spawn")) as pool:
        return _joined(pool.map(sample_shapes, chunks, [points] * len(chunks)), len(files), what)


def _joined(parts: Iterable[list[np.ndarray]], total: int, what: str) -> list[np.ndarray]:
    """The clouds of all parts in one list, while a bar shows how many are there."""
    clouds: list[np.ndarray] = []
    with Progress(total, text=f"making {what}", unit="shapes") as progress:
        for part in parts:
            clouds += part
            progress.update(len(clouds))
    return clouds


def read_cache(path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (S, P, 3) float32 and labels (S,) int64 of a `.dat` file.

    Raises:
        InputError: cut off, damaged, hostile, or of another content.
    """
    content = safe_pickle.load(path)
    if not isinstance(content, list) or len(content) != 2 or not all(isinstance(part, list) for part in content):
        raise InputError(f"{path} does not hold [list of clouds, list of labels]")
    clouds, labels = content
    shapes = {np.shape(cloud) for cloud in clouds}
    if len(clouds) != len(labels) or len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[1] < 3:
        raise InputError(f"{path} holds {len(clouds)} clouds and {len(labels)} labels that do not fit together")
    try:
        numbers = np.array([int(np.asarray(label).reshape(-1)[0]) for label in labels], dtype=np.int64)
        points = np.stack([np.asarray(cloud, dtype=np.float32)[:, :3] for cloud in clouds])
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path} holds something that is not numbers ({error})") from None
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
        bad = int(np.flatnonzero((numbers < 0) | (numbers >= classes))[0])
        raise InputError(f"{path}: cloud {bad} has label {numbers[bad]}, outside 0..{classes - 1}")
    return points, numbers


class ModelNet40(ArrayClouds):
    """ModelNet40 from the cache, which is built first where it is missing.

    Args:
        root: `modelnet40_normal_resampled`, or a folder that holds it or `ModelNet`.
        split: "train", "test", "train+test", or None for both.
        points: Points per cloud; all of the cache (8192) by default.
        seed: Seed of their random subset.
        normalize: "unit_sphere" (as released) or "none".

    Raises:
        InputError: files are missing, damaged, hostile, or hold bad labels or coordinates.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        points: int | None = None,
        seed: int = 0,
        normalize: str | None = None,
    ):
        base = find_base(Path(root))
        if base is None:
            raise InputError(f"{root} does not hold {SHAPE_NAMES}")
        wanted = wanted_splits("ModelNet40", SPLITS, split)
        classes = read_lines(base / SHAPE_NAMES)
        # Both caches, whatever split is asked for: the fingerprint is of the dataset, not of a split.
        sources = {name: (base / f"modelnet40_{name}.txt", base / cache_name(name)) for name in SPLITS}
        there = [name for name, paths in sources.items() if any(path.is_file() for path in paths)]
        caches = {name: build_cache(base, name) for name in dict.fromkeys([*there, *wanted])}
        read = {name: read_cache(caches[name], len(classes)) for name in wanted}
        about = {
            "name": "modelnet40",
            "fingerprint": of_files(caches.values()),
            "licence": "ModelNet terms of use",
            "source": "ModelNet40",
        }
        super().__init__(
            np.concatenate([clouds for clouds, _ in read.values()]),
            np.concatenate([labels for _, labels in read.values()]),
            classes,
            [name for split_name in wanted for name in _names(base, split_name, len(read[split_name][0]))],
            about,
            points,
            seed,
            normalize or "unit_sphere",
        )
        self.split = [name for name in wanted for _ in read[name][0]]


def _names(base: Path, split: str, count: int) -> list[str]:
    """Names from the list where it fits the cache, else numbers."""
    if (base / f"modelnet40_{split}.txt").is_file() and len(shapes := listed(base, split)) == count:
        return [shape for _, shape in shapes]
    return [f"{split}/{row:05d}" for row in range(count)]


def _open(base: Path, wanted: Wanted) -> ModelNet40:
    return ModelNet40(base, wanted.split, wanted.points, wanted.seed, wanted.normalize)


def _check(base: Path) -> list[Found]:
    found = Found("ModelNet40", command="finetune")
    try:
        classes = read_lines(base / SHAPE_NAMES)
    except InputError as error:
        found.problems.append(str(error))
        return [found]
    caches = []
    for split in SPLITS:
        cache = base / cache_name(split)
        try:
            if cache.is_file():
                caches.append(cache)
                points, labels = read_cache(cache, len(classes))
                check_clouds(points, labels, len(classes), str(cache))
                found.parts[split] = Part(len(points), points.shape[1], count_classes(labels, classes))
            else:
                found.parts[split] = _text_split(base, split, found)
        except InputError as error:
            found.problems.append(str(error))
    if len(caches) == len(SPLITS):
        found.fingerprint = of_files(caches)
    return [found]


def _text_split(base: Path, split: str, found: Found) -> Part:
    """A split that has text files only; the size of every file is checked, and the first of each class is read."""
    shapes = listed(base, split)
    good: dict[str, list[str]] = {}
    bad, sizes = [], []
    for cls, shape in shapes:
        path = base / cls / f"{shape}.txt"
        try:
            sizes.append(glance(path))
            if cls not in good:
                read_shape(path)
            good.setdefault(cls, []).append(shape)
        except InputError as error:
            bad.append(str(error))
    if bad:
        more = f"; {len(bad) - 1} more of {len(shapes)} listed shapes cannot be used" if len(bad) > 1 else ""
        found.problems.append(bad[0] + more)
    found.notes.append(f"{cache_name(split)} is not there; the first training run makes it from the text files")
    counts = {cls: len(names) for cls, names in good.items()}
    return Part(sum(counts.values()), min(sizes, default=0), counts)


LAYOUT = Layout("ModelNet40", find_base, _open, _check)

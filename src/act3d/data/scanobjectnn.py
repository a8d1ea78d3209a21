"""The released ScanObjectNN (Uy et al., ICCV 2019): scanned objects of 15 classes, three variants."""

from pathlib import Path
from typing import Any

import numpy as np

from act3d.data.arrays import ArrayClouds, check_clouds
from act3d.data.fingerprint import of_files
from act3d.data.layout import Found, Layout, Part, Wanted, count_classes, wanted_splits
from act3d.data.reading import first_base
from act3d.errors import InputError, reason_of

# Label order of the release; its files hold numbers only.
CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)  # fmt: skip
# Variant -> folder and what follows `training_objectdataset` in its file names.
VARIANTS = {
    "hardest": ("main_split", "_augmentedrot_scale75"),
    "objbg": ("main_split", ""),
    "objonly": ("main_split_nobg", ""),
}
SPLITS = {"train": "training", "test": "test"}
UNPACKED = 100  # a compressed array may become this many times as large
FOLDERS = ("ScanObjectNN", "h5_files", "ScanObjectNN/h5_files")


def find_base(root: Path) -> Path | None:
    """The folder that holds `main_split` or `main_split_nobg`; None if there is none."""
    return first_base(root, FOLDERS, ("main_split", "main_split_nobg"))


def file_of(base: Path, variant: str, split: str) -> Path:
    """The released file of a variant and split."""
    folder, ending = VARIANTS[variant]
    return base / folder / f"{SPLITS[split]}_objectdataset{ending}.h5"


def variants_in(base: Path) -> list[str]:
    """The variants of which at least one split exists."""
    return [name for name in VARIANTS if any(file_of(base, name, split).is_file() for split in SPLITS)]


def read_h5(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, P, 3) float32 and labels (n,) int64 of one file, checked.

    Raises:
        InputError: missing, cut off or damaged, or content that is not clouds of the 15 classes.
    """
    import h5py

    if not path.is_file():
        raise InputError(f"{path} is missing")
    try:
        with h5py.File(path, "r") as file:
            points = _numbers(file, "data").astype(np.float32)
            labels = _numbers(file, "label").astype(np.int64).reshape(-1)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # h5py raises many kinds on a damaged file
        raise InputError(f"{path} is damaged, cut off or not a ScanObjectNN file ({reason_of(error)})") from None
    if (labels == -1).any():
        raise InputError(f"{path}: cloud {int(np.argmin(labels))} has label -1, outside 0..{len(CLASSES) - 1}")
    check_clouds(points, labels, len(CLASSES), str(path))
    return points, labels


def _numbers(file: Any, name: str) -> np.ndarray:
    """The array of numbers called `name`, which must be inside the file itself.

    Raises:
        InputError: it refers to another file, holds no numbers, or claims more than the file could hold.
    """
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise InputError(f"holds no {name!r}")
    stored = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(stored, h5py.Dataset):
        raise InputError(f"refused, {name!r} is not an array in the file itself but a {type(stored or link).__name__}")
    if stored.external or stored.is_virtual:
        raise InputError(f"refused, the numbers of {name!r} are in another file")
    if stored.dtype.kind not in "iuf":
        raise InputError(f"{name!r} holds {stored.dtype}, no numbers")
    # Values that were never written take no space in the file; real clouds compress by a small factor.
    if stored.nbytes > 2**20 + UNPACKED * stored.id.get_storage_size():
        raise InputError(f"refused, {name!r} claims {stored.nbytes} bytes of {stored.id.get_storage_size()} stored")
    return np.asarray(stored)


class ScanObjectNN(ArrayClouds):
    """One variant. Coordinates are given as stored: the release does not normalize them.

    Args:
        root: `ScanObjectNN`, its `h5_files`, or the folder that holds it.
        split: "train", "test", "train+test", or None for both.
        points: Points per cloud; all (2048) by default.
        seed: Seed of their random subset.
        normalize: "none" as released, or "unit_sphere".
        variant: "hardest" (PB_T50_RS), "objbg" or "objonly"; not needed where only one is there.

    Raises:
        InputError: a file is missing or damaged, or the variant is not clear.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        points: int | None = None,
        seed: int = 0,
        normalize: str | None = None,
        variant: str | None = None,
    ):
        base = find_base(Path(root))
        if base is None:
            raise InputError(f"{root} does not hold ScanObjectNN's main_split or main_split_nobg")
        there = variants_in(base)
        if variant is None and len(there) != 1:
            raise InputError(
                f"{base} holds ScanObjectNN's {', '.join(there) or 'folders, but no file'}; choose one by data.subset"
            )
        variant = variant or there[0]
        if variant not in VARIANTS:
            raise InputError(f"data.subset: {variant!r} is no variant of ScanObjectNN; it has {', '.join(VARIANTS)}")
        wanted = wanted_splits("ScanObjectNN", SPLITS, split)
        read = {name: read_h5(file_of(base, variant, name)) for name in wanted}
        files = [file_of(base, variant, name) for name in SPLITS]
        about = {
            "name": f"scanobjectnn-{variant}",
            "fingerprint": of_files(file for file in files if file.is_file()),
            "licence": "ScanObjectNN terms of use",
            "source": "ScanObjectNN",
        }
        names = [f"{name}/{row:05d}" for name, (clouds, _) in read.items() for row in range(len(clouds))]
        super().__init__(
            np.concatenate([clouds for clouds, _ in read.values()]),
            np.concatenate([labels for _, labels in read.values()]),
            CLASSES,
            names,
            about,
            points,
            seed,
            normalize or "none",
        )
        self.split = [name for name, (clouds, _) in read.items() for _ in clouds]


def _open(base: Path, wanted: Wanted) -> ScanObjectNN:
    return ScanObjectNN(base, wanted.split, wanted.points, wanted.seed, wanted.normalize, wanted.subset)


def _check(base: Path) -> list[Found]:
    variants = variants_in(base)
    if not variants:
        return [Found("ScanObjectNN", problems=[f"{base}: main_split without any of the released .h5 files"])]
    return [_check_variant(base, variant) for variant in variants]


def _check_variant(base: Path, variant: str) -> Found:
    found = Found("ScanObjectNN", variant, command="finetune", subset=variant)
    files = {split: file_of(base, variant, split) for split in SPLITS}
    for split, path in files.items():
        try:
            points, labels = read_h5(path)
            found.parts[split] = Part(len(points), points.shape[1], count_classes(labels, CLASSES))
        except InputError as error:
            found.problems.append(str(error))
    found.fingerprint = of_files(path for path in files.values() if path.is_file())
    return found


LAYOUT = Layout("ScanObjectNN", find_base, _open, _check, subsets=True)

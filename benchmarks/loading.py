"""Reading clouds: packed shards against one .npy a cloud, cold and warm."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from act3d.data.packed import PackedDataset
from benchmarks.measure import Work

STORED, POINTS, BATCH = 8192, 1024, 64


def write(root: Path, clouds: int) -> None:
    """The same random clouds twice: root/packed and root/files."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.57, 0.57, (clouds, STORED, 3)).astype(np.float16)
    write_packed(root / "packed", points, [("a", "train")] * clouds)
    files = root / "files"
    files.mkdir()
    for i, cloud in enumerate(points):
        np.save(files / f"{i}.npy", cloud.astype(np.float32))


def write_packed(folder: Path, points: np.ndarray, rows: list[tuple[str, str]]) -> None:
    """A packed dataset of points (clouds, P, 3) float16, and the class and split of each."""
    folder.mkdir(parents=True)
    np.save(folder / "points-00000.npy", points)
    table = [f"{i},{cls},{split},0,0,0,1" for i, (cls, split) in enumerate(rows)]
    (folder / "clouds.csv").write_text("\n".join(["name,class,split,cx,cy,cz,scale", *table]) + "\n")
    description = {
        "format": "act3d-packed", "version": 1, "name": "random", "classes": sorted({cls for cls, _ in rows}),
        "parts": [], "points": points.shape[1], "dtype": "float16",
        "shards": [{"points": "points-00000.npy", "count": len(points)}],
        "splits": dict(Counter(split for _, split in rows)), "fingerprint": "0", "up": "y",
        "normalization": "unit_sphere",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(description))


def forget(root: Path) -> None:
    """Ask the system to drop the files from the page cache."""
    for path in sorted(root.rglob("*.npy")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def epochs(root: Path, clouds: int, cold: bool) -> tuple[Work, Work]:
    """An epoch in random order from single files, the plain way, and from the packed shards."""
    order = np.random.default_rng(1).permutation(clouds)
    dataset = None if cold else PackedDataset(root / "packed", "train", POINTS)

    def textbook() -> None:
        if cold:
            forget(root / "files")
        rng = np.random.default_rng(0)
        for start in range(0, clouds, BATCH):
            batch = []
            for i in order[start : start + BATCH]:
                points = np.load(root / "files" / f"{i}.npy")
                points = points[rng.permutation(len(points))[:POINTS]]
                points = points - points.mean(axis=0)
                batch.append(points / np.sqrt((points**2).sum(axis=1)).max())
            torch.from_numpy(np.stack(batch))

    def ours() -> None:
        if cold:
            forget(root / "packed")
        clouds_of = dataset or PackedDataset(root / "packed", "train", POINTS)
        for start in range(0, clouds, BATCH):
            clouds_of.fetch(order[start : start + BATCH].tolist(), 0)

    return textbook, ours

"""Reading clouds: packed shards against one .npy a cloud, cold and warm."""

import json
import os
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
    packed, files = root / "packed", root / "files"
    packed.mkdir(parents=True)
    files.mkdir()
    np.save(packed / "points-00000.npy", points)
    rows = [f"{i},a,train,0,0,0,1" for i in range(clouds)]
    (packed / "clouds.csv").write_text("\n".join(["name,class,split,cx,cy,cz,scale", *rows]) + "\n")
    description = {
        "format": "act3d-packed", "version": 1, "name": "random", "classes": ["a"], "parts": [], "points": STORED,
        "dtype": "float16", "shards": [{"points": "points-00000.npy", "count": clouds}],
        "splits": {"train": clouds}, "fingerprint": "0", "up": "y", "normalization": "unit_sphere",
    }  # fmt: skip
    (packed / "dataset.json").write_text(json.dumps(description))
    for i, cloud in enumerate(points):
        np.save(files / f"{i}.npy", cloud.astype(np.float32))


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

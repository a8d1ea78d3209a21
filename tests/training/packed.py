"""A tiny packed dataset, written as `act3d prepare` would."""

import csv
import json
from pathlib import Path

import numpy as np

CLASSES = ["ball", "box", "rod"]


def write_dataset(root: Path, per_class: int = 8, points: int = 128, labelled: bool = True) -> Path:
    """Write balls, boxes and rods; three quarters of each class train, the rest test."""
    rng = np.random.default_rng(0)
    clouds, rows = [], []
    for name in CLASSES:
        for number in range(per_class):
            cloud = rng.normal(size=(points, 3))
            if name == "ball":
                cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
            elif name == "box":
                cloud = np.clip(cloud, -1, 1)
            else:
                cloud *= (0.1, 1.0, 0.1)
            cloud -= cloud.mean(0)
            clouds.append(cloud / np.linalg.norm(cloud, axis=1).max())
            split = "train" if number < 0.75 * per_class else "test"
            rows.append([f"{name}/{number}", name if labelled else "", split, 0, 0, 0, 1])
    root.mkdir(parents=True)
    np.save(root / "points-00000.npy", np.stack(clouds).astype(np.float16))
    with (root / "clouds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "class", "split", "cx", "cy", "cz", "scale"], *rows])
    info = {
        "format": "act3d-packed", "version": 1, "name": "shapes", "classes": CLASSES if labelled else [], "parts": [],
        "points": points, "dtype": "float16", "splits": {"train": 0, "test": 0}, "fingerprint": "f" * 16, "up": "y",
        "normalization": "unit_sphere", "shards": [{"points": "points-00000.npy", "count": len(clouds)}],
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(info))
    return root

"""Small shapes and datasets that the tests write themselves."""

import json
from pathlib import Path

import numpy as np

from act3d.data.packing import Cloud, Failure, PackedWriter

CUBE_VERTICES = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
CUBE_QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], dtype=np.int64
)
CUBE_TRIANGLES = np.concatenate([CUBE_QUADS[:, [0, 1, 2]], CUBE_QUADS[:, [0, 2, 3]]])

# An L of six corners, area 3, entered at a corner from which a fan would cover too much.
L_SHAPE = np.array([[2, 0, 0], [2, 1, 0], [1, 1, 0], [1, 2, 0], [0, 2, 0], [0, 0, 0]], dtype=np.float64)


def write_obj(path: Path, vertices: np.ndarray = CUBE_VERTICES, faces: np.ndarray = CUBE_QUADS) -> Path:
    """An OBJ file."""
    lines = [f"v {x} {y} {z}" for x, y, z in vertices]
    lines += ["f " + " ".join(str(corner + 1) for corner in face) for face in faces]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_packed(out: Path, clouds: int = 20, points: int = 64, parts: bool = True, shard_size: int = 8) -> Path:
    """A packed dataset of random clouds: classes a, b, c in turn, every fifth cloud for testing, item 3 failed."""
    names = ["p", "q"] if parts else []
    writer = PackedWriter(out, {"clouds": clouds}, clouds, points, parts=names, shard_size=shard_size)
    for shard in writer.pending():
        results: list[Cloud | Failure] = []
        for i in writer.items_of(shard):
            rng = np.random.default_rng(i)
            cloud = rng.uniform(-0.5, 0.5, (points, 3))
            cls, split = "abc"[i % 3], "test" if i % 5 == 0 else "train"
            labels = (cloud[:, 0] > 0).astype(np.uint8) if parts else None
            extra = {"core": str(int(i % 2 == 0))}
            made = Cloud(f"cloud{i}", cloud, np.array([1.0, 2.0, 3.0]), 4.0, labels, cls, split, extra)
            results.append(Failure("cloud3", "made to fail") if i == 3 else made)
        writer.write_shard(shard, results)
    writer.finish(DECLARED)
    return out


def without_checksums(root: Path) -> Path:
    """Make the dataset one of an earlier version."""
    info = json.loads((root / "dataset.json").read_text())
    kept = {key: value for key, value in info.items() if key not in ("checksums", "digest")}
    (root / "dataset.json").write_text(json.dumps(kept))
    return root


DECLARED = {
    "name": "random", "classes": ["a", "b", "c"], "up": "y", "source_up": "z", "scale": 1.0, "unit": "",
    "normalization": "unit_sphere", "source": "", "licence": "", "seed": 0,
}  # fmt: skip

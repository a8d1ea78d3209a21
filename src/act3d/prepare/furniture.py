"""Sweet Home 3D's furniture as things to put into a room: in metres, z up, front towards -y, standing on z = 0."""

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.prepare.labels import read_labels
from act3d.prepare.sweethome3d import read_catalog, read_member

LARGEST = 3_000_000  # bytes of an OBJ file; larger ones take longer than they add
SCENE_CLASS = {
    "table": "table", "chair": "chair", "armchair": "chair", "stool_bench": "chair", "sofa": "sofa",
    "cabinet": "bookcase", "door": "door", "window": "window", "bed": "clutter", "lamp": "clutter",
    "plant": "clutter", "electronics": "clutter", "vessel": "clutter", "appliance": "clutter",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """One model of the catalog; `size` is its (width, depth, height) in metres, `elevation` where it hangs."""

    name: str
    cls: str
    archive: Path
    member: str
    size: tuple[float, float, float]
    elevation: float
    rotation: tuple[float, ...]
    split: str
    creator: str
    licence: str


def list_models(archives: list[Path]) -> list[Model]:
    """The labelled models that rooms are furnished with, sorted by name.

    Raises:
        InputError: An archive cannot be read, or none of its models is in the label table.
    """
    labels = {(row["library"], row["id"]): row for row in read_labels("furniture")}
    models = []
    for archive in archives:
        sizes = _file_sizes(archive)
        for number, entry in read_catalog(archive).items():
            row = labels.get((archive.stem, entry.get("id", f"{archive.stem}#{number}")))
            member = entry.get("model", "").lstrip("/")
            if row is None or row["class"] not in SCENE_CLASS or not 0 < sizes.get(member, 0) <= LARGEST:
                continue
            size = tuple(float(entry[key]) / 100 for key in ("width", "depth", "height"))
            turn = tuple(float(word) for word in entry.get("modelRotation", "").split())
            models.append(
                Model(
                    f"{archive.stem}/{row['id']}", row["class"], archive, member, (size[0], size[1], size[2]),
                    float(entry.get("elevation", 0)) / 100, turn if len(turn) == 9 else (), row["split"],
                    row["creator"], row["licence"],
                )
            )  # fmt: skip
    if not models:
        raise InputError(f"none of the models in {', '.join(map(str, archives))} is in the label table")
    return sorted(models, key=lambda model: model.name)


def _file_sizes(archive: Path) -> dict[str, int]:
    try:
        with zipfile.ZipFile(archive) as file:
            return {info.filename: info.file_size for info in file.infolist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive} is no readable furniture catalog ({error})") from None


@lru_cache(maxsize=256)
def unit_triangles(archive: Path, member: str, rotation: tuple[float, ...]) -> np.ndarray:
    """Triangles (T, 3, 3) float32 of a model, turned z up, in the box [-1/2, 1/2] x [-1/2, 1/2] x [0, 1]."""
    shape = read_member(archive, member)
    if shape.faces is None or not len(shape.faces):
        raise InputError(f"{archive.name}/{member} holds no faces")
    vertices = shape.vertices
    if rotation:
        vertices = vertices @ np.array(rotation).reshape(3, 3).T
    # y up, front towards +z  ->  z up, front towards -y
    vertices = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], axis=1)
    used = vertices[np.unique(shape.faces)]
    low, high = used.min(axis=0), used.max(axis=0)
    vertices = (vertices - (low + high) / 2) / np.maximum(high - low, 1e-9)
    vertices[:, 2] += 0.5
    return vertices[shape.faces].astype(np.float32)


def place(model: Model, size: tuple[float, float, float], at: np.ndarray, angle: float) -> np.ndarray:
    """Triangles (T, 3, 3) of a model of this size, turned by `angle` (radians, about z), standing at `at` (x, y, z)."""
    triangles = unit_triangles(model.archive, model.member, model.rotation).astype(np.float64) * np.array(size)
    c, s = np.cos(angle), np.sin(angle)
    return triangles @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + at

"""What the page of a dataset shows, from its clouds: classes, sizes, upright or not, odd ones out. Without torch."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.rooms import open_rooms
from act3d.errors import InputError
from act3d.files import plain_path
from act3d.report.class_colors import class_colors, hex_colors
from act3d.report.dataset import ClassRow, DatasetPage, RoomView, write_dataset_page
from act3d.report.pieces import Named
from act3d.report.viewer import by_label

EXAMPLES, SHOWN, POINTS = 6, 120, 512  # shapes of a class, shapes in all, points of a shape
LOOKED_AT = 4000  # clouds that are read, evenly spread, to measure extents and to find odd ones
ODD, FAR = 12, 6.0  # odd shapes at most; robust deviations from the class's median that make one
ROOMS, ROOM_POINTS = 4, 20_000
WHY = ("width", "height", "depth", "how far points lie from the middle", "how unevenly they lie", "original size")


def write_shapes(path: Path, root: str | Path, subset: str = "", split: str = "") -> Path:
    """Write the page of a dataset of shapes, of all its splits unless one is named, and return its path."""
    return write_dataset_page(path, page_of_shapes(open_dataset(str(root), split or None, subset=subset or None)))


def write_rooms(path: Path, root: str | Path) -> Path:
    """Write the page of a folder of rooms and return its path."""
    return write_dataset_page(path, page_of_rooms(root))


def page_of_shapes(clouds: CloudDataset) -> DatasetPage:
    """Return classes, sizes, examples and odd ones of a dataset.

    Args:
        clouds: All of it, or a split.
    """
    rows = np.unique(np.linspace(0, len(clouds) - 1, min(len(clouds), LOOKED_AT)).round().astype(int))
    radii = _radii(clouds)
    features = np.concatenate(
        [shape_features(_read(clouds, part)) for part in np.array_split(rows, -(-len(rows) // 256))]
    )
    labels, splits = clouds.labels, list(dict.fromkeys(clouds.split)) or ["all"]
    order = {"train": 0, "val": 1, "test": 2}
    splits.sort(key=lambda split: (order.get(split, 3), split))
    examples: dict[str, list[Named]] = {}
    table = []
    present = [int(label) for label in np.unique(labels)]
    each = max(1, min(EXAMPLES, SHOWN // len(present)))
    for label in sorted(present, key=lambda label: label < 0):
        name, members = _class(clouds, label), np.flatnonzero(labels == label)
        counts = Counter(clouds.split[i] for i in members) if clouds.split else {"all": len(members)}
        of_class = features[labels[rows] == label]
        extents = np.median(of_class[:, :3], axis=0) if len(of_class) else np.full(3, np.nan)
        radius = None if radii is None else float(np.median(radii[members]))
        table.append(ClassRow(name, counts, tuple(float(x) for x in extents), radius))  # type: ignore[arg-type]
        if len(examples) < SHOWN:
            examples[name] = _named(clouds, members[:each])
    measured = features if radii is None else np.column_stack([features, np.log(np.maximum(radii[rows], 1e-30))])
    odd = odd_ones(measured, labels[rows])
    return DatasetPage(
        clouds.name, _facts(clouds, len(rows)), splits, table, str(clouds.meta.get("unit") or ""), examples,
        [shape for place, why in odd for shape in _named(clouds, rows[[place]], why)],
    )  # fmt: skip


def shape_features(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Extents along x, y, z, mean and deviation of the distance from the middle of clouds (B, N, 3): (B, 5)."""
    low, high = points.min(axis=1), points.max(axis=1)
    apart = np.linalg.norm(points - (low + high)[:, None] / 2, axis=2)
    return np.column_stack([high - low, apart.mean(axis=1), apart.std(axis=1)])


def odd_ones(features: NDArray[np.float64], labels: NDArray[np.int64]) -> list[tuple[int, str]]:
    """Return (place, reason) of the shapes farthest from the median of their class, in robust deviations, at most 12.

    Args:
        features: (S, F), named by `WHY`.
        labels: (S,) class ids; -1 = none, which are compared with each other.
    """
    score = np.zeros(features.shape)
    for label in np.unique(labels):
        members = labels == label
        if members.sum() < 5:  # no median worth the name
            continue
        middle = np.median(features[members], axis=0)
        spread = 1.4826 * np.median(np.abs(features[members] - middle), axis=0)  # = sigma where values are normal
        floor = 0.02 + 0.02 * np.abs(middle)  # a class of equal shapes has no spread
        score[members] = (features[members] - middle) / np.maximum(spread, floor)
    worst = np.abs(score).max(axis=1)
    found = []
    for place in np.argsort(-worst, kind="stable")[:ODD]:
        if worst[place] < FAR:
            break
        which = int(np.abs(score[place]).argmax())
        found.append((int(place), f"{WHY[which]}: {'larger' if score[place, which] > 0 else 'smaller'} than usual"))
    return found


def page_of_rooms(root: str | Path) -> DatasetPage:
    """Return a few rooms coloured by class."""
    folder = open_rooms(str(root))
    palette = class_colors(folder.classes)
    rooms = []
    for name in folder.rooms[:ROOMS]:
        room = folder.read(name)
        low, high = room.points[:, 2].min(), room.points[:, 2].max()
        inside = np.flatnonzero(room.points[:, 2] < low + 0.9 * (high - low))
        chosen = np.random.default_rng(0).permutation(inside)[:ROOM_POINTS]
        upright = room.points[chosen][:, [0, 2, 1]] * np.array([1, 1, -1])  # z up -> y up
        rooms.append(RoomView(name, upright, by_label(room.labels[chosen].astype(np.int64), palette)))
    facts = {"Rooms": str(len(folder.rooms)), "Classes": str(len(folder.classes)), "Fingerprint": folder.fingerprint}
    legend = list(zip(folder.classes, hex_colors(folder.classes), strict=True))
    return DatasetPage(folder.name, facts, rooms=rooms, legend=legend)


def _read(clouds: CloudDataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points (B, N, 3), centred and scaled to radius 1 where they are not."""
    points = np.asarray(clouds.read(np.asarray(rows), 0)[0], dtype=np.float64)
    points = points - points.mean(axis=1, keepdims=True)
    return points / np.maximum(np.linalg.norm(points, axis=2).max(axis=1)[:, None, None], 1e-12)


def _radii(clouds: CloudDataset) -> NDArray[np.float64] | None:
    """The original radius of every cloud, where the dataset keeps it."""
    column = clouds.columns().get("scale")
    return None if column is None else np.array([float(value) for value in column])


def _named(clouds: CloudDataset, rows: NDArray[np.int64], remark: str = "") -> list[Named]:
    points = _read(clouds, rows)[:, :POINTS]
    return [
        Named(clouds.names[row], remark and f"{_class(clouds, int(clouds.labels[row]))} · {remark}", cloud)
        for row, cloud in zip(rows.tolist(), points, strict=True)
    ]


def _class(clouds: CloudDataset, label: int) -> str:
    return clouds.classes[label] if label >= 0 else "no class"


def _facts(clouds: CloudDataset, read: int) -> dict[str, str]:
    meta: dict[str, Any] = clouds.meta
    facts = {
        "Clouds": f"{len(clouds)} of {clouds.points} points"
        + (f"; {read} were read for this page" if read < len(clouds) else ""),
        "Classes": str(len(clouds.classes)),
        "Parts": ", ".join(clouds.parts),
        "Up axis of the files": str(meta.get("source_up") or ""),
        "Normalization": clouds.normalization,
        "Source": str(meta.get("source") or ""),
        "Licence": str(meta.get("licence") or "not declared"),
        "Fingerprint": clouds.fingerprint,
    }
    return {name: value for name, value in facts.items() if value}


def place_of_page(root: str | Path) -> Path:
    """Return where the page of a dataset lies: beside its folder.

    Raises:
        InputError: the folder has no name, such as "/".
    """
    folder = Path(root)
    if folder.name in ("", ".."):
        folder = plain_path(folder)
    if not folder.name:
        raise InputError(f"{root}: a page cannot be written beside this folder")
    return folder.with_name(f"{folder.name}.shapes.html")

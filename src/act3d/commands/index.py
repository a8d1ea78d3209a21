"""`act3d index`: a collection that can be searched by shape."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.commands.embed import clear_parts, embed_all, load_embedder
from act3d.errors import CheckpointError, ConfigError
from act3d.files import atomic_path, write_json
from act3d.settings.command import command
from act3d.settings.data import ReadData
from act3d.settings.using import IndexSettings
from act3d.use.shapes import Shapes, find_shapes

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from act3d.evaluation.retrieval import RetrievalQuality, Scaling
    from act3d.use.embeddings import Embeddings

FORMAT = "act3d-index-1"
TABLE, VECTORS, PICTURES, ABOUT = "embeddings.npz", "index.faiss", "clouds.npz", "index.json"
PICTURE_POINTS = 512


@dataclass
class IndexReport:
    """What `index` did: shapes in the index, how many of them are new, how many are gone, failures, quality by name."""

    out: Path
    shapes: int
    new: int
    gone: int
    failures: list[tuple[str, str]] = field(repr=False)
    quality: dict[str, dict[str, Any]]


@command
def index(settings: IndexSettings) -> IndexReport:
    """Make a collection searchable, or bring its index up to date.

    Returns:
        What is in the index, and how good it is.
    """
    checkpoint, out, data = settings.checkpoint, settings.out, settings.data
    from act3d.evaluation.retrieval import build_index, load_faiss, measure_scaling

    load_faiss()
    folder = Path(out)
    predictor, meta = load_embedder(checkpoint, settings.device)
    shapes = find_shapes(settings.input, predictor.meta, data.split, data.subset)
    old = open_index(folder) if (folder / ABOUT).is_file() else None
    if old is not None and old.table.meta["checkpoint"] != meta["checkpoint"]:
        raise ConfigError(f"--out: {out} was made by another checkpoint; choose another folder")
    known = [old.table] if old else []
    seen = dict(old.clouds) if old else {}

    def keep_picture(place: int, points: "Tensor") -> None:
        item = shapes.items[place]
        seen[picture_key(item.name, item.stamp)] = _small(points.numpy())

    table, new, failures = embed_all(predictor, shapes, data, known, folder / TABLE, meta, keep_picture)
    table, gone = _joined(old.table if old else None, table)
    scaling = measure_scaling(table.vectors)
    clouds = _pictures(table, seen, shapes, data)
    table.write(folder / TABLE)
    clear_parts(folder / TABLE)
    _write_arrays(folder / PICTURES, {"keys": sorted(clouds), "points": [clouds[key] for key in sorted(clouds)]})
    faiss = load_faiss()
    with atomic_path(folder / VECTORS) as temporary:
        faiss.write_index(build_index(scaling(table.vectors)), str(temporary))
    quality = measure_quality(table, scaling)
    about = {"format": FORMAT, "shapes": len(table), "checkpoint": meta, "quality": quality}
    write_json(folder / ABOUT, about)  # last: an index without it is unfinished
    print(f"{folder}: {len(table)} shapes; {new} new, {gone} gone, {len(failures)} not readable")
    for name, numbers in quality.items():
        recall = ", ".join(f"recall@{k} {v:.1f}" for k, v in numbers["recall"].items())
        print(f"{name}: mAP {numbers['map']:.1f}, {recall} (percent, {numbers['queries']} queries)")
    return IndexReport(folder, len(table), new, gone, failures, quality)


@dataclass
class Index:
    """An opened index."""

    folder: Path
    table: "Embeddings"
    clouds: "dict[str, np.ndarray]"
    about: dict[str, Any]


def open_index(folder: str | Path) -> Index:
    """Open what `index` wrote.

    Raises:
        CheckpointError: The folder holds no finished index, or a damaged one.
    """
    import numpy as np

    from act3d.use.embeddings import read_embeddings

    folder = Path(folder)
    if not (folder / ABOUT).is_file():
        raise CheckpointError(f"{folder}: holds no finished index; make one by act3d index INPUT --out {folder}")
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r}")
        with np.load(folder / PICTURES, allow_pickle=False) as file:
            clouds = dict(zip((str(key) for key in file["keys"]), file["points"], strict=True))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder}: a damaged index, or one of another version ({reason})") from error
    return Index(folder, read_embeddings(folder / TABLE), clouds, about)


def picture_key(name: str, stamp: str) -> str:
    """What a shape's small cloud is kept under."""
    return f"{name}\n{stamp}"


def _joined(old: "Embeddings | None", new: "Embeddings") -> "tuple[Embeddings, int]":
    """All rows of the new table, and those of the old one whose shapes are still there; how many are not."""
    import numpy as np

    from act3d.use.embeddings import COLUMNS, Embeddings

    if old is None:
        return new, 0
    fresh = set(zip(new["name"], new["path"], strict=True))
    rest = [i for i, key in enumerate(zip(old["name"], old["path"], strict=True)) if key not in fresh]
    kept = [i for i in rest if not old["path"][i] or Path(old["path"][i]).is_file()]
    stay = old.rows(kept)
    columns = {name: stay[name] + new[name] for name in COLUMNS}
    return Embeddings(np.concatenate([stay.vectors, new.vectors]), columns, new.meta), len(rest) - len(kept)


def _pictures(
    table: "Embeddings", seen: "dict[str, np.ndarray]", shapes: Shapes, data: ReadData
) -> "dict[str, np.ndarray]":
    """A small cloud for every row; read again where an interrupted run has embedded the shape already."""
    from act3d.errors import InputError
    from act3d.use.points import read_points

    places = {(item.name, item.stamp): i for i, item in enumerate(shapes.items)}
    up = None if data.up == "auto" else data.up
    clouds: dict[str, Any] = {}
    for (name, stamp), path in zip(table.keys(), table["path"], strict=True):
        key = picture_key(name, stamp)
        try:
            if key in seen:
                clouds[key] = seen[key]
            elif shapes.dataset is not None and (name, stamp) in places:
                clouds[key] = _small(shapes.dataset.fetch([places[name, stamp]], epoch=0)["points"][0].numpy())
            elif path:
                clouds[key] = _small(read_points(path, {}, PICTURE_POINTS, up).numpy())
        except InputError:  # gone in the meantime: found without a picture
            continue
    return clouds


def _small(points: "np.ndarray") -> "np.ndarray":
    """A cloud (N, 3) cut down for pictures: (512, 3) float16."""
    import numpy as np

    return np.resize(points[:PICTURE_POINTS], (PICTURE_POINTS, 3)).astype(np.float16)


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    import numpy as np

    with atomic_path(path) as temporary, temporary.open("wb") as file:
        made: dict[str, Any] = {key: np.array(value) for key, value in arrays.items()}
        np.savez(file, **made)


def measure_quality(table: "Embeddings", scaling: "Scaling") -> dict[str, dict[str, Any]]:
    """mAP and recall@k over the labelled shapes: all against all, and test against train where there are splits."""
    from act3d.errors import InputError
    from act3d.evaluation.retrieval import retrieval_quality

    unit, labels, splits = scaling(table.vectors), table["label"], table["split"]
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, result: "RetrievalQuality") -> None:
        recall = {str(k): v for k, v in result.recall.items()}
        found[name] = {"map": result.mean_ap, "recall": recall, "queries": result.queries, "by_class": result.class_ap}

    try:
        add("each shape among all others", retrieval_quality(unit, labels))
        test, train = ([i for i, s in enumerate(splits) if s == wanted] for wanted in ("test", "train"))
        if test and train:
            sides = [(unit[rows], [labels[i] for i in rows]) for rows in (test, train)]
            add("test shapes among training shapes", retrieval_quality(*sides[0], *sides[1]))
    except InputError:  # nothing labelled, or no two of a kind
        pass
    return found

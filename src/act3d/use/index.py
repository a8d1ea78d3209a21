"""A collection that can be searched by shape: a folder with vectors, a faiss index, and small clouds for pictures.

An update writes a whole new folder beside the old one, and the two exchange their names: whenever it is stopped, there
is one whole index. `index.json` holds the digest of every other file, so that parts that do not belong together are
noticed.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.errors import CheckpointError, InputError, MissingDependency, reason_of
from act3d.evaluation.retrieval import RetrievalQuality, Scaling, measure_scaling, retrieval_quality
from act3d.files import atomic_path, move_into_place, recover_folder, write_json
from act3d.installing import how_to_install
from act3d.use.embeddings import COLUMNS, Embeddings, read_embeddings
from act3d.use.reading import Reading

FORMAT = "act3d-index-1"
TABLE, VECTORS, PICTURES, ABOUT = "embeddings.npz", "index.faiss", "clouds.npz", "index.json"
PICTURE_POINTS = 512
EXACT_LIMIT = 200_000  # above, an approximate graph index (HNSW) instead of comparing with everything

Key = tuple[str, str]  # name and stamp of a shape
Pictures = dict[Key, NDArray[np.float16]]


@dataclass(repr=False)
class Index:
    """An opened index.

    Attributes:
        folder: Where it is.
        table: Vectors and names of its shapes; `meta` says which model.
        pictures: A small cloud (512, 3) of every shape.
        about: What `index.json` says: quality, digests.
    """

    folder: Path
    table: Embeddings
    pictures: Pictures
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<Index: {len(self)} shapes by {self.table.meta.get('path')}; {self.folder}>"

    @property
    def scaling(self) -> Scaling:
        """What turns an embedding into what faiss compares."""
        return measure_scaling(self.table.vectors)

    @property
    def reading(self) -> Reading:
        """How its files were read, if all were read alike: queries are to be read so too."""
        return Reading.of(stamp for stamp, path in zip(self.table["stamp"], self.table["path"], strict=True) if path)

    def checkpoint(self) -> str:
        """The file of the model that it was made with.

        Raises:
            CheckpointError: It is no longer there.
        """
        path = str(self.table.meta["path"])
        if not Path(path).is_file():
            raise CheckpointError(f"{path}: the index's model is no longer there; say where it is by --checkpoint")
        return path

    def vectors(self) -> Any:
        """The faiss index.

        Raises:
            MissingDependency: faiss is not installed.
            CheckpointError: The file is damaged, or of another collection.
        """
        faiss = load_faiss()
        try:
            found = faiss.read_index(str(self.folder / VECTORS))
        except RuntimeError as error:
            raise CheckpointError(f"{self.folder / VECTORS}: cannot be read; run act3d index again") from error
        if found.ntotal != len(self.table):
            raise CheckpointError(f"{self.folder}: its files do not belong together; run act3d index again")
        return found


def has_index(folder: Path) -> bool:
    """Tell whether a finished index is there."""
    recover_folder(folder)
    return (folder / ABOUT).is_file()


def open_index(folder: str | Path) -> Index:
    """Open an index.

    Raises:
        CheckpointError: The folder holds no finished index, or a damaged one, or files that do not belong together.
    """
    folder = Path(folder)
    if not has_index(folder):
        raise CheckpointError(f"{folder}: holds no finished index; make one by act3d index INPUT --out {folder}")
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r}")
        for name, digest in about.get("files", {}).items():
            if _digest(folder / name) != digest:
                raise ValueError(f"{name} does not belong to it, or is damaged")
        with np.load(folder / PICTURES, allow_pickle=False) as file:
            keys = [tuple(str(key).split("\n", 1)) for key in file["keys"]]
            pictures: Pictures = dict(zip(keys, file["points"], strict=True))  # type: ignore[arg-type]
        table = read_embeddings(folder / TABLE)
        if about["shapes"] != len(table):
            raise ValueError(f"{about['shapes']} shapes promised, {len(table)} found")
    except Exception as error:
        raise CheckpointError(f"{folder}: a damaged index, or one of another version ({reason_of(error)})") from error
    return Index(folder, table, pictures, about)


def write_index(folder: Path, table: Embeddings, pictures: Pictures) -> Index:
    """Write an index, in place of the one that may be there. Foreign files in the folder stay."""
    work = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    scaling = measure_scaling(table.vectors)
    table.write(work / TABLE)
    keys = sorted(pictures)
    with atomic_path(work / PICTURES) as temporary, temporary.open("wb") as file:
        np.savez(file, keys=np.array(["\n".join(key) for key in keys]), points=np.array([pictures[k] for k in keys]))
    with atomic_path(work / VECTORS) as temporary:
        load_faiss().write_index(build_faiss(scaling(table.vectors)), str(temporary))
    about = {"format": FORMAT, "shapes": len(table), "checkpoint": table.meta, "quality": quality(table, scaling)}
    about["files"] = {name: _digest(work / name) for name in (TABLE, VECTORS, PICTURES)}
    write_json(work / ABOUT, about)
    for other in folder.iterdir() if folder.is_dir() else ():
        if other.name not in (TABLE, VECTORS, PICTURES, ABOUT):
            (shutil.copytree if other.is_dir() else shutil.copy2)(other, work / other.name)
    move_into_place(work, folder)
    return Index(folder, table, pictures, about)


def joined(old: Embeddings | None, new: Embeddings) -> tuple[Embeddings, int]:
    """All rows of the new table, and those of the old one whose shapes are still there; how many are not."""
    if old is None:
        return new, 0
    fresh = set(zip(new["name"], new["path"], strict=True))
    rest = [i for i, key in enumerate(zip(old["name"], old["path"], strict=True)) if key not in fresh]
    kept = [i for i in rest if not old["path"][i] or Path(old["path"][i]).is_file()]
    stay = old.rows(kept)
    columns = {name: stay[name] + new[name] for name in COLUMNS}
    return Embeddings(np.concatenate([stay.vectors, new.vectors]), columns, new.meta), len(rest) - len(kept)


def small(points: NDArray[np.float32]) -> NDArray[np.float16]:
    """A cloud (N, 3) cut down for pictures: (512, 3) float16."""
    return np.resize(points[:PICTURE_POINTS], (PICTURE_POINTS, 3)).astype(np.float16)


def build_faiss(unit: NDArray[np.float32]) -> Any:
    """A faiss index over unit vectors (S, F), by inner product: exact up to `EXACT_LIMIT` shapes.

    Raises:
        MissingDependency: faiss is not installed.
    """
    faiss = load_faiss()
    width = unit.shape[1]
    if len(unit) <= EXACT_LIMIT:
        index = faiss.IndexFlatIP(width)
    else:
        index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = 128
    index.add(unit)
    return index


def load_faiss() -> Any:
    """Import faiss, or say what to install."""
    try:
        import faiss
    except ImportError as error:
        raise MissingDependency(f"searching needs faiss: {how_to_install('search')}") from error
    return faiss


def quality(table: Embeddings, scaling: Scaling) -> dict[str, dict[str, Any]]:
    """mAP and recall@k over the labelled shapes: all against all, and test against train where there are splits."""
    unit, labels, splits = scaling(table.vectors), table["label"], table["split"]
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, result: RetrievalQuality) -> None:
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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

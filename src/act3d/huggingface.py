"""Datasets of point clouds to and from Hugging Face `datasets` (package `act3d[datasets]`).

from act3d.huggingface import from_datasets, to_datasets

to_datasets("data/mine").push_to_hub("me/mine")        # a DatasetDict; to_datasets("sample").save_to_disk("folder")
from_datasets(datasets.load_dataset("me/mine"), "data/mine")     # a folder that every command of act3d takes

A row holds `points` (P, 3) float32, `label` (a ClassLabel where there are classes), `parts` (P,) where there are any,
`normal` (P, 3) in -1..1 and `rgb` (P, 3) uint8 where they are stored, and the columns of the dataset's table as texts.
"""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.channel_values import from_colors, to_bytes
from act3d.channels import WIDTHS, columns_of
from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset, generator_of
from act3d.data.packing import CENTERS, Cloud, Failure, PackedWriter
from act3d.errors import Act3dError, InputError, MissingDependency
from act3d.files import one_writer
from act3d.installing import how_to_install
from act3d.prepare.pack import Summary, shard_size_for, summarize

ROWS_A_READ = 64
_SPLITS = {"validation": "val"}  # theirs -> ours
_KEPT = ("up", "source_up", "source_formats", "scale", "unit", "licence", "source", "normalization")


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingDependency(f"this needs the package datasets: {how_to_install('datasets')}") from None
    return datasets


def to_datasets(root: str | Path, cache_dir: str | Path | None = None) -> Any:
    """The clouds of a dataset as a `datasets.DatasetDict`, a split each.

    Args:
        root: A folder that `act3d prepare` wrote, one in a released layout, or "sample".
        cache_dir: Where `datasets` keeps the rows; by default its own cache.

    Raises:
        MissingDependency: `datasets` is not installed.
        InputError: Nothing there that can be opened.
    """
    library = _library()
    whole = open_dataset(root, channels=tuple(WIDTHS))
    names = list(dict.fromkeys(whole.split)) or ["train"]
    about = {"act3d": {**{key: whole.meta.get(key) for key in _KEPT}, "name": whole.name}}
    made = {}
    for name in names:
        given = {"root": str(root), "split": name if whole.split else None, "fingerprint": whole.fingerprint}
        made[name] = library.Dataset.from_generator(
            _rows, features=_features(whole, library), gen_kwargs=given, split=library.NamedSplit(name),
            cache_dir=None if cache_dir is None else str(cache_dir),
        )  # fmt: skip
        made[name].info.description = json.dumps(about)
        made[name].info.license = str(whole.meta.get("licence") or "")
    return library.DatasetDict(made)


def _rows(root: str, split: str | None, fingerprint: str) -> Iterator[dict[str, Any]]:
    """One dictionary a cloud; the fingerprint only tells `datasets` which rows these are."""
    clouds = open_dataset(root, split, channels=tuple(WIDTHS))
    table = _texts(clouds)
    places = columns_of(clouds.channels)
    for start in range(0, len(clouds), ROWS_A_READ):
        rows = np.arange(start, min(start + ROWS_A_READ, len(clouds)))
        points, parts = clouds.read(rows, 0)
        for at, row in enumerate(rows.tolist()):
            beside = points[at, :, 3:]
            found: dict[str, Any] = {name: values[row] for name, values in table.items()}
            found |= {"points": points[at, :, :3], "label": int(clouds.labels[row])}
            if parts is not None:
                found["parts"] = parts[at]
            if "normal" in places:
                found["normal"] = beside[:, places["normal"]]
            if "rgb" in places:
                found["rgb"] = np.round((beside[:, places["rgb"]] + 1) * 127.5).astype(np.uint8)
            yield found


def _texts(clouds: CloudDataset) -> dict[str, list[str]]:
    """The table's columns of texts, without those that rows have as something better."""
    return {name: values for name, values in clouds.columns().items() if name not in ("class", "split", "part_ids")}


def _features(clouds: CloudDataset, library: Any) -> Any:
    def of_points(dtype: str) -> Any:
        return library.Array2D((clouds.points, 3), dtype)

    found = {name: library.Value("string") for name in _texts(clouds)}
    found["points"] = of_points("float32")
    found["label"] = library.ClassLabel(names=clouds.classes) if clouds.classes else library.Value("int64")
    if clouds.parts:
        found["parts"] = library.Sequence(library.ClassLabel(names=clouds.parts), length=clouds.points)
    kinds = {"normal": "float32", "rgb": "uint8"}
    return library.Features(found | {name: of_points(kinds[name]) for name in clouds.channels})


def from_datasets(
    rows: Any, out: str | Path, points: int | None = None, name: str = "", licence: str = "", seed: int = 0,
    overwrite: bool = False,
) -> Summary:  # fmt: skip
    """Write the rows of a `datasets.Dataset` or `DatasetDict` as a prepared dataset.

    Args:
        rows: With a column `points`, (N, 3) each, y up; beside it whatever the module's docstring names. A `label` may
            be a ClassLabel, a text or a number, -1 or None for none. Other columns of texts and numbers are kept.
        out: Folder to write; an existing dataset is never touched unless `overwrite`.
        points: Points stored of every cloud; by default those of the first one. A cloud with more gives a random part,
            one with fewer repeats some.
        name, licence: Of the dataset; by default what `rows` says.
        seed: Of that part.
        overwrite: Replace a dataset at `out`, once the new one is complete.

    Returns:
        Counts, and (name, reason) of every row that gave no cloud.

    Raises:
        InputError: No column `points`, not one good row, or `out` would be lost.
        MissingDependency: `datasets` is not installed.
    """
    library, started = _library(), time.perf_counter()
    parts = dict(rows) if isinstance(rows, library.DatasetDict) else {str(getattr(rows, "split", "") or "train"): rows}
    first = next(iter(parts.values()))
    if "points" not in first.column_names:
        raise InputError(f"points: no such column; the rows have {', '.join(first.column_names)}")
    reader = _Reader(parts, library, points or len(first[0]["points"]), seed)
    about = _about(first)
    own = {"name": name or about.get("name") or Path(out).name, "licence": licence or about.get("licence") or None}
    declared = {"up": "y", "source_up": "y", "source_formats": {}, "scale": 1.0, "unit": "", "source": None}
    declared |= {"normalization": "unit_sphere"} | {key: about[key] for key in _KEPT if key in about} | own
    declared |= {"classes": reader.classes, "seed": seed}
    marks = [getattr(part, "_fingerprint", "") for part in parts.values()]
    plan = {"datasets": marks, "seed": seed, **{key: value for key, value in declared.items() if key != "source"}}
    with one_writer(Path(out)):
        writer = PackedWriter(
            out, plan, len(reader), reader.points, "float16", reader.parts, shard_size_for(len(reader)), overwrite,
            reader.channels,
        )  # fmt: skip
        for shard in writer.pending():
            writer.write_shard(shard, [reader.cloud(row) for row in writer.items_of(shard)])
        description = writer.finish(declared)
    return summarize(Path(out), description, time.perf_counter() - started, [])


def _about(rows: Any) -> dict[str, Any]:
    """What `to_datasets` said of the dataset."""
    try:
        found = json.loads(rows.info.description or "{}")["act3d"]
    except (ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


class _Reader:
    """Rows of all splits, one after the other, as clouds."""

    def __init__(self, splits: Mapping[str, Any], library: Any, points: int, seed: int) -> None:
        self.splits, self.points, self.seed = dict(splits), points, seed
        self.starts = np.cumsum([0, *(len(part) for part in splits.values())])
        features = next(iter(splits.values())).features
        self.columns = set(features)
        label, part = features.get("label"), getattr(features.get("parts"), "feature", None)
        self.names = list(label.names) if isinstance(label, library.ClassLabel) else None
        self.parts = list(part.names) if isinstance(part, library.ClassLabel) else []
        self.channels = [name for name in WIDTHS if name in features]
        kinds = (library.Value,)
        self.kept = [key for key, kind in features.items() if isinstance(kind, kinds) and key not in ("label", "name")]
        self.classes = self.names if self.names is not None else self._classes()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _classes(self) -> list[str]:
        if "label" not in self.columns:
            return []
        return sorted({self._class(value) for part in self.splits.values() for value in part["label"]} - {""})

    def _class(self, value: Any) -> str:
        if value is None or value in (-1, ""):
            return ""
        return self.names[value] if self.names is not None else str(value)

    def cloud(self, number: int) -> Cloud | Failure:
        """The cloud of a row; a bad one says why it is none."""
        place = int(np.searchsorted(self.starts, number, side="right")) - 1
        split, rows = list(self.splits.items())[place]
        row = rows[number - int(self.starts[place])]
        name = str(row.get("name") or f"{split}/{number - int(self.starts[place])}")
        try:
            return self._cloud(name, _SPLITS.get(split, split), row, number)
        except (Act3dError, ValueError, TypeError) as error:
            return Failure(name, str(error))

    def _cloud(self, name: str, split: str, row: Mapping[str, Any], number: int) -> Cloud:
        cloud = np.asarray(row["points"], dtype=np.float64)
        if cloud.ndim != 2 or cloud.shape[1] != 3 or not len(cloud) or not np.isfinite(cloud).all():
            raise InputError(f"points of shape {cloud.shape}; expected finite numbers (N, 3)")
        chosen = generator_of(self.seed, 0, number).permutation(len(cloud))
        chosen = np.resize(chosen, self.points)
        extra = {key: str(row[key]) for key in self.kept if row[key] is not None}
        center, scale = _place(extra)
        middle = cloud.mean(axis=0)
        radius = float(np.linalg.norm(cloud - middle, axis=1).max())
        if not radius > 0:
            raise InputError("its extent is zero")
        if np.abs(middle).max() > 1e-3 or abs(radius - 1) > 1e-3:
            cloud, center, scale = (cloud - middle) / radius, center + scale * middle, scale * radius
        labels = np.asarray(row["parts"], dtype=np.int64)[chosen] if self.parts else None
        for key in (*CENTERS, "scale"):
            extra.pop(key, None)
        extra = {"vertices": str(len(cloud)), "faces": "0", "area": "0", **extra}
        beside = None
        if self.channels:
            extra["channels"] = " ".join(key for key in self.channels if row[key] is not None)
            beside = self._channels(row, len(cloud))[chosen]
        label = self._class(row.get("label"))
        return Cloud(name, cloud[chosen], center, scale, labels, label, split, extra, "", beside)

    def _channels(self, row: Mapping[str, Any], count: int) -> NDArray[np.int8]:
        values = []
        for name in self.channels:
            given = np.zeros((count, WIDTHS[name])) if row[name] is None else np.asarray(row[name], dtype=np.float64)
            if given.shape != (count, WIDTHS[name]):
                raise InputError(f"{name} of shape {given.shape} for {count} points")
            values.append(from_colors(given / 255) if name == "rgb" and row[name] is not None else given)
        return to_bytes(np.concatenate(values, axis=1))


def _place(columns: Mapping[str, str]) -> tuple[NDArray[np.float64], float]:
    """Where a cloud lay and how large it was, as the columns of a dataset of act3d say; else at zero, as it is."""
    try:
        center = np.array([float(columns[key]) for key in CENTERS])
        return center, float(columns["scale"])
    except (LookupError, ValueError):
        return np.zeros(3), 1.0

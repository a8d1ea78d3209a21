"""What INPUT means to the commands that use a model: a file, a folder, a glob, or a prepared dataset."""

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act3d.checkpoints import assumptions
from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.layouts import holds_dataset
from act3d.data.opening import open_for_model
from act3d.errors import Act3dError, InputError
from act3d.files import names_of, plain_path, unique_names
from act3d.lines import say
from act3d.readers.by_suffix import READERS, read_sample
from act3d.readers.find import find_files
from act3d.readers.guarded import Lost, limits_for, read_all
from act3d.samples import SAMPLES
from act3d.use.points import extents_of, in_training_frame
from act3d.use.predictor import Predictor
from act3d.use.reading import Reading, turned

Tell = Callable[[Sequence[str]], None]

_NOT_NORMALIZED = "clouds are not normalised, as in the model's training: the size and place of a file's shape count"


class Item(NamedTuple):
    """One shape: its name, class ("" = unknown), split, file ("" = inside a dataset), and what tells a change."""

    name: str
    label: str
    split: str
    path: str
    stamp: str

    @property
    def key(self) -> tuple[str, str]:
        """The key of a row of a table: equal keys mean the same shape, read in the same way."""
        return self.name, self.stamp


class Batch(NamedTuple):
    """Some shapes as they were read.

    Attributes:
        places: Of those that could be read.
        points: Theirs (b, N, 3), as the model was trained on them.
        failures: (place, reason) of those that could not.
        extents: Width, height and depth (b, 3) of the first ones in the units of their files or of the dataset's
            sources; NaN where these are not known.
    """

    places: list[int]
    points: Tensor
    failures: list[tuple[int, str]]
    extents: NDArray[np.float32]


@dataclass
class Shapes:
    """The shapes of an INPUT."""

    items: list[Item]
    dataset: CloudDataset | None = None

    def batches(
        self, places: Sequence[int], predictor: Predictor[Any], reading: Reading, tell: Tell | None = None
    ) -> Iterator[Batch]:
        """Read shapes as the model was trained on them; lines on what is inferred go to `tell`, else to the user."""
        tell, workers = tell or say_all, max(reading.workers, 1)
        blocks = blocks_of(places, reading)
        if self.dataset is not None:
            sizes = _sizes(self.dataset)
            for block in blocks:
                points = self.dataset.fetch(block, epoch=0)["points"]
                yield Batch(block, points, [], np.ptp(points[..., :3].numpy(), axis=1) * sizes[block, None])
            return
        count, meta = predictor.points, dict(predictor.meta)
        axis = None if reading.up == "auto" else reading.up
        said = [*assumptions(meta), *_about_size(meta, reading.normalize)]
        tell(said)
        if reading.normalize != "auto":
            meta["normalization"] = reading.normalize
        paths = [self.items[place].path for place in places]
        read = partial(read_sample, count=count, channels=predictor.channels)
        share = max(workers, reading.beside)
        with closing(read_all(read, paths, lambda path: limits_for(path, share), workers)) as results:
            for block in blocks:
                good: list[int] = []
                clouds: list[Tensor] = []
                extents: list[NDArray[np.float32]] = []
                bad: list[tuple[int, str]] = []
                for place in block:
                    found = next(results)
                    try:
                        if isinstance(found, Lost):
                            raise InputError(found.reason)
                        item = self.items[place]
                        path, up = Path(item.path), turned(item.stamp) or axis
                        cloud, notes = in_training_frame(found, path, meta, up)
                    except Act3dError as error:
                        bad.append((place, str(error)))
                        continue
                    tell(new := [note for note in notes if note not in said])  # what is inferred is said once
                    said += new
                    good.append(place)
                    clouds.append(cloud)
                    extents.append(extents_of(found, path, meta, up))
                points = torch.stack(clouds) if clouds else torch.empty(0, count, 3)
                yield Batch(good, points, bad, np.array(extents, np.float32).reshape(-1, 3))


def find_shapes(
    source: str, predictor: Predictor[Any], split: str = "", subset: str = "", reading: Reading | None = None
) -> Shapes:
    """List the shapes of an INPUT.

    Args:
        source: A mesh or cloud; a folder, searched through all its subfolders; a glob pattern ("parts/*.obj", `**`
            for any depth); a folder that `act3d prepare` wrote, or its URL; a released dataset, or "sample".
        predictor: Says how many points of a dataset's clouds to take, and how they are normalised.
        split, subset: Of a dataset; "" = all of it.
        reading: How shapes are read.

    Raises:
        InputError: Nothing there, or nothing that can be read.
    """
    path, reading = Path(source), reading or Reading()
    if source in SAMPLES or holds_dataset(source):
        return _of_dataset(source, predictor, split, subset, reading)
    if split or subset:
        raise InputError(f"{source} is no prepared dataset: it has no splits and subsets")
    if path.is_dir():
        root, files = path, find_files(path, READERS).files
    elif path.is_file():
        root, files = path.parent, [path]
    else:
        files = [Path(f) for f in sorted(set(glob.glob(source, recursive=True))) if Path(f).is_file()]
        root = common_folder(files) if files else Path()
    if not files:
        kinds = ", ".join(READERS)
        raise InputError(f"{source}: no such file, folder or pattern, or nothing in it that can be read ({kinds})")
    relatives = [file.relative_to(root) for file in files]
    # As in `act3d prepare`: the first folder below the root is the class.
    folders = [relative.parts[0] if len(relative.parts) > 1 else "" for relative in relatives]
    labels, names = names_of(folders), unique_names(relatives)  # also where two names look alike
    base = plain_path(root)
    paths = [str(base / relative) for relative in relatives]  # a shape's identity in a table or index
    rows = zip(names, folders, paths, files, strict=True)
    return Shapes([Item(name, labels[own], "", path, _stamp(file, reading)) for name, own, path, file in rows])


def _about_size(meta: Mapping[str, Any], asked: str) -> list[str]:
    """What there is to say of how files are normalized, in one line or none."""
    trained = meta.get("normalization") or "unit_sphere"
    if asked not in ("auto", trained):
        return [f"normalization {asked!r}, as asked; the model was trained with {trained!r}"]
    return [_NOT_NORMALIZED] if trained == "none" else []


def _of_dataset(source: str, predictor: Predictor[Any], split: str, subset: str, reading: Reading) -> Shapes:
    stored = open_dataset(source, split or None, None, subset=subset or None).points
    wanted = min(predictor.points, stored)
    opened = open_for_model(
        predictor.meta, source, split or None, wanted, reading.normalize, subset=subset, up=reading.up
    )
    say_all([*assumptions(predictor.meta), *opened.warnings])
    clouds = opened.clouds
    stamp = f"{clouds.fingerprint}:{opened.points}{reading.mark}"
    labels = [clouds.classes[label] if label >= 0 else "" for label in clouds.labels.tolist()]
    splits = clouds.split or [""] * len(clouds)
    rows = zip(unique_names(clouds.names), labels, splits, strict=True)
    return Shapes([Item(name, label, part, "", stamp) for name, label, part in rows], clouds)


def _sizes(clouds: CloudDataset) -> NDArray[np.float32]:
    """What makes the size of a shape of a dataset (S,) out of that of its cloud; NaN where nothing tells."""
    if clouds.normalization == "none":
        return np.ones(len(clouds), np.float32)
    scales = clouds.columns().get("scale")
    return np.full(len(clouds), np.nan, np.float32) if scales is None else np.array(scales, np.float32)


def _stamp(file: Path, reading: Reading) -> str:
    try:
        about = file.stat()
    except OSError:  # a link to nothing: reading will say so
        return "missing"
    return f"{about.st_size}-{about.st_mtime_ns}{reading.mark}"


def blocks_of(places: Sequence[int], reading: Reading) -> list[list[int]]:
    """Cut places into those of the batches."""
    size = reading.batch_size
    return [list(places[i : i + size]) for i in range(0, len(places), size)]


def say_all(lines: Sequence[str]) -> None:
    """Print lines about what was inferred."""
    for line in lines:
        say(f"act3d: {line}", error=True)


def common_folder(files: list[Path]) -> Path:
    parents = [file.parent.parts for file in files]
    shared = 0
    while all(len(p) > shared for p in parents) and len({p[shared] for p in parents}) == 1:
        shared += 1
    return Path(*parents[0][:shared]) if shared else Path()

"""The base of all datasets of clouds.

Torch is imported by the first batch: looking at a dataset, and checking it, does without.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from act3d.data.frames import NORMALIZATIONS
from act3d.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def choose_points(seed: int, epoch: int, index: int, stored: int, wanted: int) -> np.ndarray:
    """`wanted` of `stored` points in random order, (wanted,) int64: a pure function of its arguments."""
    return generator_of(seed, epoch, index).choice(stored, wanted, replace=False)


def generator_of(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of all draws for one cloud in one epoch."""
    # A counter-based generator keyed by (seed, epoch) and index needs no state, so a resumed run draws the same.
    key = np.array([(seed % 2**32) << 32 | epoch % 2**32, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


class Stored(NamedTuple):
    """Facts about storage that hold for every cloud of a dataset.

    Attributes:
        points: Points of a cloud.
        dtype: The type that holds them without loss: float16 or float32.
        ordered: All points, when all are asked for, come in the stored order rather than a random one.
    """

    points: int
    dtype: np.dtype[Any]
    ordered: bool


class Shards(NamedTuple):
    """Where the clouds of a dataset lie that is fetched shard by shard.

    Attributes:
        of: The shard of each cloud (len,) int64, a place in `sizes`.
        sizes: Bytes of each shard (n,) int64; 0 = nothing is fetched for its clouds.
    """

    of: np.ndarray
    sizes: np.ndarray


class CloudDataset:
    """Clouds with labels. A subclass says how many points a cloud stores and reads some of them, as NumPy arrays.

    `index` in a batch counts within this selection (0 .. len - 1) and is the place of the cloud in `names` and
    `labels`. The points of a cloud are a random subset of the stored ones, another one every epoch.

    Attributes:
        name: The dataset's name.
        classes: Class names; a label is a place in this list, -1 means unlabelled.
        parts: Part names; empty when the clouds carry no part labels.
        class_parts: For each class, the part ids that occur in it.
        names: One name a cloud.
        split: One split a cloud; empty where they are of none.
        labels: (len,) int64.
        points: Points given per cloud.
        channels: Channels of points beside x, y and z: points are (B, N, 3 + F), see `act3d.channels`.
        weights: (len,) how often each cloud comes in an epoch; None = every one once.
        shards: Where clouds lie that are fetched shard by shard; None = any order is as fast as another.
        fingerprint: A hash of the data; equal fingerprints mean equal bytes.
        meta: JSON-able facts that inference needs: up, source_up, scale, unit, normalization, points, licence, ...
    """

    name: str
    classes: list[str]
    parts: list[str]
    class_parts: dict[str, list[int]]
    names: list[str]
    split: list[str]
    labels: np.ndarray
    points: int
    fingerprint: str
    meta: dict[str, Any]
    weights: np.ndarray | None = None
    shards: Shards | None = None
    channels: tuple[str, ...] = ()

    def __init__(self, seed: int = 0, normalization: str = "unit_sphere"):
        if normalization not in NORMALIZATIONS:
            raise InputError(f"normalization {normalization!r} is not known; allowed: {', '.join(NORMALIZATIONS)}")
        self.seed = seed
        self.epoch = 0
        self.normalization = normalization
        self.split = []

    def describe(self, **facts: Any) -> None:
        """Set `meta`: `facts`, the dataset's own facts, and defaults for the rest."""
        defaults = {"up": "y", "source_up": "y", "scale": 1.0, "unit": "", "licence": None, "source": None}
        own = {"name": self.name, "fingerprint": self.fingerprint, "normalization": self.normalization}
        self.meta = {**defaults, **facts, **own, "points": self.points, "classes": self.classes}

    def about(self) -> dict[str, Any]:
        """What results and checkpoints say of the data: name and fingerprint, and those of every dataset in a pool."""
        return {"name": self.name, "fingerprint": self.fingerprint}

    def class_words(self) -> list[str]:
        """The classes' own names, without that of their dataset where several are pooled: two may be equal."""
        return self.classes

    def __repr__(self) -> str:
        split = f", {'+'.join(dict.fromkeys(self.split))}" if self.split else ""
        kinds = f"{len(self.classes)} classes" + (f", {len(self.parts)} parts" if self.parts else "")
        return (
            f"<{type(self).__name__} {self.name}{split}: {len(self)} clouds of {self.points} points, {kinds}, "
            f"normalization {self.normalization}, fingerprint {self.fingerprint}>"
        )

    def __len__(self) -> int:
        return len(self.names)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random subsets `__getitem__` gives; 0 until set."""
        self.epoch = epoch

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Points (B, N, 3 + F) float32 as stored and part ids (B, N) int64 or None, chosen for `epoch`."""
        raise NotImplementedError

    def prefetch(self, rows: np.ndarray) -> None:
        """Take note that these clouds are read soon; returns at once."""

    def columns(self) -> dict[str, list[str]]:
        """What is told of every cloud, by column: its name, its class ("" = unlabelled), and whatever a table adds."""
        return {"name": self.names, "class": [self.classes[label] if label >= 0 else "" for label in self.labels]}

    def stored_alike(self) -> Stored | None:
        """Facts that hold for every cloud; None where clouds differ, or if points would have to be read to know."""
        return None

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """All stored points (B, P, 3) and part ids (B, P) or None; only where `stored_alike` says what they are.

        They are what `read` chooses from, before normalization, in the order that they are stored in.
        """
        raise NotImplementedError

    def fetch(self, indices: Sequence[int], epoch: int | None = None) -> "dict[str, Tensor]":
        """The batch `{"points", "label", "index"[, "parts"]}` of the clouds at `indices`, read in one go."""
        import torch

        from act3d.data.transforms import normalize

        rows = np.asarray(indices, dtype=np.int64)
        points, parts = self.read(rows, self.epoch if epoch is None else epoch)
        batch = {
            "points": normalize(torch.from_numpy(points), self.normalization),
            "label": torch.from_numpy(self.labels[rows]),
            "index": torch.from_numpy(rows),
        }
        if parts is not None:
            batch["parts"] = torch.from_numpy(parts)
        return batch

    def __getitem__(self, index: int) -> "dict[str, Tensor]":
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside 0..{len(self) - 1}")
        return {key: value[0] for key, value in self.fetch([index]).items()}

    def __getitems__(self, indices: list[int]) -> "list[dict[str, Tensor]]":
        batch = self.fetch(indices)
        return [{key: value[i] for key, value in batch.items()} for i in range(len(indices))]

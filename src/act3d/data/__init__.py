"""Datasets of point clouds. `open_dataset` looks at a folder and opens it, whatever its layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from act3d.files import is_remote
from act3d.samples import SAMPLES, sample_root

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset


def open_dataset(
    root: str | Path,
    split: str | None = None,
    points: int | None = None,
    seed: int = 0,
    normalize: str | None = None,
    subset: str | None = None,
    channels: Sequence[str] = (),
) -> "CloudDataset":
    """Open the dataset at `root`; its layout is recognised by its files.

    Args:
        root: A folder written by `act3d prepare`, one in a released layout (ShapeNet-55, ModelNet40, ScanObjectNN,
            ShapeNetPart); a URL (s3://, hf:// ...) of a folder that `act3d prepare` wrote; or a sample that ships with
            act3d: "sample" (640 electronic parts), "sample-furniture" (403 pieces).
        split: "train", "test", "unlabeled" where the source has it; several joined by "+"; None for everything.
        points: Points per cloud, a random subset that changes every epoch; all stored ones by default.
        seed: Seed of that subset.
        normalize: "unit_sphere" (each subset centred and scaled) or "none"; by default what the dataset declares.
        subset: A named part of it, such as "core" in the prepared KiCad and Sweet Home 3D collections; the variant of
            ScanObjectNN ("hardest", "objbg", "objonly").
        channels: Channels of points beside x, y and z ("normal", "rgb"); the dataset's own `channels` are those of
            them that it stores.

    Raises:
        InputError: nothing there that can be opened, a damaged file, or an empty selection.
    """
    from act3d.data.layout import Wanted
    from act3d.data.layouts import open_place

    return open_place(folder_of(root), Wanted(split, points, seed, normalize, subset, tuple(channels)))


def folder_of(root: str | Path) -> Path | str:
    """Return the folder or URL that `root` names: itself, or that of a sample that ships with act3d."""
    if is_remote(root):
        return str(root)
    return sample_root(str(root)) if str(root) in SAMPLES else Path(root)

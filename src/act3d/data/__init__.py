"""Datasets of point clouds. `open_dataset` looks at a folder and opens it, whatever its format."""

from pathlib import Path
from typing import TYPE_CHECKING

from act3d.errors import InputError

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset

SAMPLE = "sample"


def sample_root() -> Path:
    """The folder of the sample that ships inside the package."""
    return Path(__file__).parent / "sample"


def open_dataset(
    root: str | Path,
    split: str | None = None,
    points: int | None = None,
    seed: int = 0,
    normalize: str | None = None,
    subset: str | None = None,
) -> "CloudDataset":
    """Open the dataset at `root`; its format is recognised by what lies there.

    Args:
        root: A folder written by `act3d prepare`, one in a released layout (ShapeNet-55, ModelNet40, ScanObjectNN,
            ShapeNetPart), or "sample" for the 640 shapes that ship with act3d.
        split: "train", "test", "unlabeled" where the source has it; several joined by "+"; None for everything.
        points: Points per cloud, a random subset that changes every epoch; all stored ones by default.
        seed: Seed of that subset.
        normalize: "unit_sphere" (each subset centred and scaled) or "none"; by default what the dataset declares.
        subset: A named part of it, such as "core" in the prepared KiCad and Sweet Home 3D collections; the variant of
            ScanObjectNN ("hardest", "objbg", "objonly").

    Raises:
        InputError: nothing there that can be opened, a damaged file, or an empty selection.
    """
    from act3d.data import modelnet40, scanobjectnn, shapenetpart
    from act3d.data.packed import DESCRIPTION, PackedDataset
    from act3d.data.shapenet55 import ShapeNet55, find_layout

    folder = sample_root() if str(root) == SAMPLE else Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one written by 'act3d prepare', ShapeNet-55, or 'sample'")
    if (folder / DESCRIPTION).is_file():
        return PackedDataset(folder, split, points, seed, normalize, subset)
    if find_layout(folder) is not None:
        if subset is not None:
            raise InputError(f"ShapeNet-55 has no subset {subset!r}")
        return ShapeNet55(folder, split, points, seed, normalize or "unit_sphere")
    if scanobjectnn.find_base(folder) is not None:
        return scanobjectnn.ScanObjectNN(folder, split, points, seed, normalize, subset)
    if modelnet40.find_base(folder) is not None:
        if subset is not None:
            raise InputError(f"ModelNet40 has no subset {subset!r}")
        return modelnet40.ModelNet40(folder, split, points, seed, normalize)
    if shapenetpart.find_layout(folder) is not None:
        if subset is not None:
            raise InputError(f"ShapeNetPart has no subset {subset!r}")
        return shapenetpart.ShapeNetPart(folder, split, points, seed, normalize or "unit_sphere")
    raise InputError(
        f"{folder} is neither a prepared dataset (no {DESCRIPTION}) nor a released layout that act3d knows; "
        f"for a folder of meshes run: act3d prepare {folder} --out DIR"
    )

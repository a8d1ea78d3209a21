"""All layouts of datasets that act3d opens and checks. A new one is a file with a `Layout` in it, and a line here."""

from pathlib import Path

from act3d.data import fewshot, modelnet40, packed, rooms, scanobjectnn, shapenet55, shapenetpart
from act3d.data.clouds import CloudDataset
from act3d.data.layout import Found, Layout, Wanted
from act3d.data.streamed import StreamedDataset, check_streamed
from act3d.errors import InputError
from act3d.files import is_remote
from act3d.remote import check_url

# In the order in which they are looked for.
LAYOUTS: tuple[Layout, ...] = (
    packed.LAYOUT,
    shapenet55.LAYOUT,
    modelnet40.LAYOUT,
    fewshot.LAYOUT,
    scanobjectnn.LAYOUT,
    shapenetpart.LAYOUT,
    rooms.LAYOUT,
)


def open_place(root: Path | str, wanted: Wanted) -> CloudDataset:
    """Open the dataset in a folder or at a URL; see `act3d.data.open_dataset`."""
    if is_remote(root):
        check_url(str(root))
        return StreamedDataset(str(root), *wanted)
    return open_folder(Path(root), wanted)


def open_folder(folder: Path, wanted: Wanted) -> CloudDataset:
    """Open the dataset in `folder`, by the first layout that recognises it; see `act3d.data.open_dataset`."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one written by 'act3d prepare', a released one, or 'sample'")
    instead = []
    for layout in LAYOUTS:
        base = layout.find(folder)
        if base is None:
            continue
        if layout.open is None:
            instead.append(f"{folder} holds {layout.name}; {layout.instead}")
            continue
        if wanted.subset is not None and not layout.subsets:
            raise InputError(f"{layout.name} has no subset {wanted.subset!r}")
        return layout.open(base, wanted)
    if instead:
        raise InputError(instead[0])
    raise InputError(
        f"{folder} is neither a prepared dataset (no {packed.DESCRIPTION}) nor a released layout that act3d knows "
        f"({names()}); for a folder of meshes run: act3d prepare {folder} --out DIR"
    )


def holds_dataset(root: Path | str) -> bool:
    """Tell whether a folder is a dataset that `open_folder` knows, damaged or not; URLs always are of datasets."""
    if is_remote(root):
        return True
    folder = Path(root)
    return folder.is_dir() and any(layout.open is not None and layout.find(folder) is not None for layout in LAYOUTS)


def check_folder(root: Path | str) -> list[Found]:
    """Check all datasets that a folder or URL holds, in any layout; every cloud is read.

    Raises:
        InputError: no such folder, or nothing in it that act3d knows.
    """
    if is_remote(root):
        return check_streamed(str(root))
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    found = [item for layout in LAYOUTS if (base := layout.find(folder)) is not None for item in layout.check(base)]
    if not found:
        raise InputError(f"{folder} holds no dataset that act3d knows (looked for: {names()})")
    return found


def names() -> str:
    """Return the names of all layouts in one line."""
    return ", ".join(layout.name for layout in LAYOUTS)

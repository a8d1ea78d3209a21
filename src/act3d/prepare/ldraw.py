"""LDraw's parts library (Debian's ldraw-parts): classes by the words of titles, splits by part number."""

from pathlib import Path

from act3d.errors import InputError
from act3d.prepare.items import UNLABELED, Item, Source
from act3d.prepare.labels import read_labels
from act3d.readers.ldraw import read_header

LICENCE = "CC-BY-2.0 (attribution: columns title and author), see the column licence"
_CCAL = "Redistributable under CCAL version 2.0"  # LDraw's contributor agreement, which is CC BY 2.0


def find_library(root: Path) -> Path | None:
    """The folder with `parts/` and `p/` at `root` or in the usual places below it."""
    for base in (root, root / "usr/share/ldraw", root / "share/ldraw", root / "ldraw"):
        if (base / "parts").is_dir() and (base / "p").is_dir():
            return base
    return None


def ldraw_source(root: Path) -> Source:
    """List the parts of the shipped table: no printed variants, aliases, stickers, obsolete parts and exact copies."""
    library = find_library(root)
    if library is None:
        raise InputError(f"{root} holds no folders parts and p; give LDraw's folder or one above it")
    rows = read_labels("ldraw")
    here = {path.name.lower(): path for path in (library / "parts").iterdir() if path.suffix.lower() == ".dat"}
    items = [_item(here[row["file"]], row) for row in rows if row["file"] in here]
    if not items:
        raise InputError(f"{library} holds none of the parts of the label table (ldraw-parts 2206)")
    notes = [f"{len(here) - len(items)} files of parts/ left alone: printed variants, aliases, stickers, copies"]
    if len(items) < len(rows):
        notes.append(f"{len(rows) - len(items)} parts of the label table (ldraw-parts 2206) are not in this folder")
    classes = sorted({row["class"] for row in rows} - {""})
    return Source("ldraw", "ldraw", items, classes, [], "y", 0.4, "mm", LICENCE, notes)


def _item(path: Path, row: dict[str, str]) -> Item:
    header = read_header(path)
    licence = "CC-BY-2.0" if header["licence"].startswith(_CCAL) else header["licence"]
    extra = {
        "title": header["title"],
        "family": row["family"],
        "core": str(int(row["class"] not in ("", "sheet"))),  # flat cloth and film would decide a headline number
        "author": header["author"],
        "licence": licence,
    }
    return Item(path.stem, path, row["class"], row["split"] if row["class"] else UNLABELED, extra=extra)

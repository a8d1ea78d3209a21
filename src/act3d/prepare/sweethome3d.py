"""Sweet Home 3D's furniture (Debian's sweethome3d-furniture): OBJ models inside .sh3f archives."""

import lzma
import re
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from act3d.errors import InputError
from act3d.prepare.items import UNLABELED, Item, Source, licence_line
from act3d.prepare.labels import read_labels
from act3d.readers.limits import check_unpacked
from act3d.readers.obj import parse_obj
from act3d.readers.shape import Shape

BAD_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError)
CATALOG = "PluginFurnitureCatalog.properties"
LICENCE = "CC0-1.0 and CC-BY-3.0 (attribution: column creator), see the column licence"
# Classes whose models look similar; the other four mix many kinds of objects.
CORE_EXCLUDES = {"appliance", "electronics", "hand_tool", "vessel"}


def read_catalog(archive: Path) -> dict[str, dict[str, str]]:
    """The entries of one catalog: number -> {id, name, model, creator, ...}."""
    try:
        if not archive.is_file():
            raise OSError("not a regular file")
        with zipfile.ZipFile(archive) as file:
            text = _read(file, CATALOG).decode("latin-1")
    except (KeyError, OSError, *BAD_ZIP) as error:
        raise InputError(f"{archive} is no readable furniture catalog ({error})") from None
    entries: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\w+)#(\d+)\s*=\s*(.*)", line)
        if match:
            key, number, value = match.groups()
            # Java's properties escape what Latin-1 lacks, and may escape punctuation.
            value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), value)
            entries.setdefault(number, {})[key] = re.sub(r"\\(.)", r"\1", value).strip()
    return entries


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
    info = archive.getinfo(member)
    check_unpacked(info.file_size, info.compress_size, member)
    return archive.read(info)


@lru_cache(maxsize=2)
def _open(archive: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


def read_member(archive: Path, member: str) -> Shape:
    """One OBJ model of an archive."""
    try:
        data = _read(_open(archive), member)
    except KeyError:
        raise InputError(f"{archive.name} has no {member}") from None
    except (OSError, *BAD_ZIP) as error:
        raise InputError(f"cannot be unpacked ({error})") from None
    return parse_obj(data)


def sweethome3d_source(root: Path) -> Source:
    """List the models of all archives at or below `root`, with labels, splits and licences of the shipped table."""
    archives = [root] if root.suffix == ".sh3f" else []
    for base in (root, root / "furniture", root / "usr/share/sweethome3d/furniture"):
        archives = archives or sorted(base.glob("*.sh3f"))
    archives = archives or sorted(root.glob("**/*.sh3f"))
    if not archives:
        raise InputError(f"{root} holds no .sh3f archive; give the folder furniture or one above it")
    rows = {(row["library"], row["id"]): row for row in read_labels("furniture")}
    items = []
    for archive in archives:
        for number, entry in sorted(read_catalog(archive).items(), key=lambda pair: int(pair[0])):
            if "model" in entry:
                key = (archive.stem, entry.get("id", f"{archive.stem}#{number}"))
                items.append(_item(archive, f"{key[0]}/{key[1]}", entry, rows.pop(key, None)))
    unknown = sum(item.extra["licence"] == "" for item in items)
    notes = [f"{unknown} models are not in the label table: unlabeled, licence unknown"] if unknown else []
    if rows:
        notes.append(f"{len(rows)} models of the label table (sweethome3d-furniture 1.8) are not in this folder")
    classes = sorted({row["class"] for row in read_labels("furniture")} - {""})
    return Source("sweethome3d", "furniture", items, classes, [], "y", 1.0, "", licence_line(LICENCE, items), notes)


def _item(archive: Path, name: str, entry: dict[str, str], row: dict[str, str] | None) -> Item:
    cls = row["class"] if row else ""
    rotation = tuple(float(word) for word in entry.get("modelRotation", "").split())
    extra = {
        "title": entry.get("name", ""),
        "category": entry.get("category", ""),
        "core": str(int(bool(cls) and cls not in CORE_EXCLUDES)),
        "creator": row["creator"] if row else entry.get("creator", ""),
        "licence": row["licence"] if row else "",
    }
    split = row["split"] if row and cls else UNLABELED
    member = entry["model"].lstrip("/")
    return Item(name, archive, cls, split, member, rotation if len(rotation) == 9 else None, extra)

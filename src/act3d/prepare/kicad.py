"""KiCad's electronics models (Debian's kicad-packages3d): 40 classes, splits by family, parts from materials."""

from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.prepare.items import UNLABELED, Item, Source, licence_line
from act3d.prepare.labels import read_labels
from act3d.readers.shape import Shape, face_areas

PARTS = ["body", "accent", "metal", "lens", "marking"]
BODY, ACCENT, METAL, LENS, MARKING = range(5)
LICENCE = "CC-BY-SA-4.0 with KiCad's exception; models marked GPL-3+ in the column licence"
_METALS = {"PIN-01", "PIN-02", "MET-COPPER", "MET-SILVER", "MET-ALUMINUM"}


def part_of_material(name: str, color: np.ndarray) -> int:
    """The part that a material stands for: by name, or by colour if it has none. Accent is not decided here."""
    if not name:
        red, green, blue = (float(value) for value in color)
        grey = max(color) - min(color) < 0.08 and 0.35 < (red + green + blue) / 3 < 0.88
        brass = red > 0.6 and 0.6 < green / red < 0.96 and blue < 0.8 * green
        return METAL if grey or brass else BODY
    if name in _METALS:
        return METAL
    if name.startswith(("GLASS-", "LED-")):
        return LENS
    return MARKING if name == "IC-LABEL-01" else BODY


def face_parts(shape: Shape) -> np.ndarray:
    """The part (F,) uint8 of every face. Body materials other than the one with most area become accent."""
    assert shape.faces is not None
    assert shape.materials is not None
    assert shape.colors is not None
    named = zip(shape.material_names, shape.colors, strict=True)
    parts = np.array([part_of_material(name, color) for name, color in named], dtype=np.uint8)
    areas = np.bincount(shape.materials, face_areas(shape.vertices, shape.faces), minlength=len(parts))
    body = np.flatnonzero(parts == BODY)
    if len(body):
        dominant = body[areas[body].argmax()]
        parts[body[body != dominant]] = ACCENT
    return parts[shape.materials]


def find_models(root: Path) -> list[Path]:
    """The `<library>.3dshapes/<name>.wrl` files at or below `root`, in a fixed order."""
    if root.name.endswith(".3dshapes"):
        return sorted(root.glob("*.wrl"))
    # The usual places first: walking a whole file system for them would take long.
    for base in (root, root / "3dmodels", root / "usr/share/kicad/3dmodels", root / "share/kicad/3dmodels"):
        found = sorted(base.glob("*.3dshapes/*.wrl"))
        if found:
            return found
    return sorted(root.glob("**/*.3dshapes/*.wrl"))


def kicad_source(root: Path) -> Source:
    """List the models with labels, splits and licences of the shipped table."""
    files = find_models(root)
    if not files:
        raise InputError(f"{root} holds no <library>.3dshapes/<name>.wrl; give the folder 3dmodels or one above it")
    rows = {(row["library"], row["name"]): row for row in read_labels("kicad")}
    items = []
    for path in files:
        key = (path.parent.name.removesuffix(".3dshapes"), path.stem)
        row = rows.pop(key, None)
        cls = row["class"] if row else ""
        split = row["split"] if row and cls else UNLABELED
        extra = {column: row[column] if row else "" for column in ("family", "core", "licence")}
        items.append(Item("/".join(key), path, cls, split, extra=extra))
    unknown = sum(item.extra["licence"] == "" for item in items)
    notes = [f"{unknown} models are not in the label table: unlabeled, licence unknown"] if unknown else []
    if rows:
        notes.append(f"{len(rows)} models of the label table (kicad-packages3d 6.0.10) are not in this folder")
    # The whole vocabulary, whatever part of the collection lies here: labels mean the same everywhere.
    classes = sorted({row["class"] for row in read_labels("kicad")} - {""})
    return Source("kicad", "kicad", items, classes, PARTS, "z", 2.54, "mm", licence_line(LICENCE, items), notes)

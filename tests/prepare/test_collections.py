"""KiCad, Sweet Home 3D and LDraw: small fixtures in their layout, and the label tables that ship."""

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from act3d.commands.prepare import prepare
from act3d.data import open_dataset
from act3d.data.packed import PackedDataset
from act3d.errors import InputError
from act3d.prepare.labels import read_labels
from tests.fixtures.ldraw_library import ldraw_library

BOARD = "[0 0 0, 10 0 0, 10 10 0, 0 10 0, 0 0 9]"
WRL = f"""#VRML V2.0 utf8
# Copyright (C) 2017, Somebody
Shape {{ geometry IndexedFaceSet {{ coord Coordinate {{ point {BOARD} }} coordIndex [0,1,2,-1,0,2,3,-1] }}
  appearance Appearance {{ material DEF IC-BODY-EPOXY-04 Material {{ diffuseColor 0.1 0.1 0.1 }} }} }}
Shape {{ geometry IndexedFaceSet {{ coord Coordinate {{ point {BOARD} }} coordIndex [0,1,4,-1] }}
  appearance Appearance {{ material DEF PIN-01 Material {{ diffuseColor 0.8 0.8 0.7 }} }} }}
"""


def kicad_tree(root: Path) -> Path:
    """One model of every split, one unlabelled, one unknown to the table."""
    rows = read_labels("kicad")
    chosen = [next(row for row in rows if row["class"] == "so" and row["split"] == s) for s in ("train", "test", "dup")]
    chosen.append(next(row for row in rows if not row["class"]))
    chosen.append({"library": "My", "name": "Own"})
    for row in chosen:
        path = root / "usr/share/kicad/3dmodels" / f"{row['library']}.3dshapes" / f"{row['name']}.wrl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(WRL)
        path.with_suffix(".step").write_text("not read")
    return root


def check_kicad(out: Path) -> None:
    data = open_dataset(out)
    assert isinstance(data, PackedDataset)
    assert len(data.classes) == 40
    assert Counter(data.split) == {"train": 1, "test": 1, "dup": 1, "unlabeled": 2}
    assert data.meta["source_up"] == "z"
    assert (data.meta["scale"], data.meta["unit"]) == (2.54, "mm")
    assert len(open_dataset(out, "train", subset="core")) == 1
    assert set(data.table["licence"]) == {"CC-BY-SA-4.0", ""}
    assert data.meta["licence"].endswith(
        "column licence; of models without one in the column licence, see where they come from"
    )
    item = open_dataset(out, "train", normalize="none")[0]
    # 10 units of 0.1 inch wide; the fin that stood along z stands along y now, and is metal.
    assert item["points"][:, 0].max() == pytest.approx(25.4, abs=0.3)
    assert torch.equal(item["parts"] == 2, item["points"][:, 1] > 0.05)
    assert data.class_parts["so"] == [0, 2]


def test_kicad_materials_are_colours(tmp_path: Path) -> None:
    prepare(kicad_tree(tmp_path / "deb"), tmp_path / "out", points=512, workers=1, channels="xyz,normal,rgb")
    clouds = open_dataset(tmp_path / "out", channels=("normal", "rgb"))
    points, parts = clouds.read(np.arange(len(clouds)), 0)
    metal = parts == 2
    assert 0.1 < metal.mean() < 0.9
    assert np.allclose(points[metal][:, 6:], [0.6, 0.6, 0.4], atol=0.01)  # diffuseColor 0.8 0.8 0.7 in -1..1
    assert np.allclose(points[~metal][:, 6:], [-0.8, -0.8, -0.8], atol=0.01)
    assert np.allclose(np.abs(points[~metal][:, 4]), 1, atol=0.01)  # the board lies flat
    assert set(clouds.columns()["channels"]) == {"normal rgb"}


def test_kicad_folder(tmp_path: Path) -> None:
    tree = kicad_tree(tmp_path / "deb")
    summary = prepare(tree, tmp_path / "out", points=512, workers=1)
    check_kicad(tmp_path / "out")
    assert any("1 models are not in the label table" in note for note in summary.notes)
    inner = prepare(tree / "usr/share/kicad/3dmodels", tmp_path / "inner", points=512, workers=1)
    assert inner.fingerprint == summary.fingerprint


def test_debian_package_itself(tmp_path: Path) -> None:
    tree = kicad_tree(tmp_path / "deb")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        archive.add(tree, ".")
    package = tmp_path / "kicad-packages3d_6.deb"

    def member(name: str, data: bytes) -> bytes:
        return f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)

    control, data = member("debian-binary", b"2.0\n") + member("control.tar.gz", b"odd"), packed.getvalue()
    package.write_bytes(b"!<arch>\n" + control + member("data.tar.xz", data))
    prepare(package, tmp_path / "out", points=512, workers=1)
    check_kicad(tmp_path / "out")
    package.write_bytes(package.read_bytes()[: -len(data) // 2])
    with pytest.raises(InputError, match="damaged or cut off"):
        prepare(package, tmp_path / "again", points=512, workers=1)
    package.write_bytes(b"no package")
    with pytest.raises(InputError, match="not a Debian package"):
        prepare(package, tmp_path / "again", points=512, workers=1)


def test_sweethome3d(tmp_path: Path) -> None:
    row = next(row for row in read_labels("furniture") if row["class"] == "lamp" and row["split"] == "test")
    catalog = f"""# a comment
id=Catalog
id#1={row["id"]}
name#1=L\\u00e4mp
model#1=/some/lamp/lamp.obj
creator#1=Ann
modelRotation#1=1 0 0 0 0 1 0 -1 0
id#2=Unknown\\ \\#thing
name#2=Thing
model#2=/some/gone.obj
"""
    pole = "v 0 0 0\nv 1 0 0\nv 0 0 7\nf 1 2 3\n"
    folder = tmp_path / "in" / "furniture"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{row['library']}.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", catalog)
        archive.writestr("some/lamp/lamp.obj", pole)
    summary = prepare(tmp_path / "in", tmp_path / "out", points=256, workers=1)
    assert summary.failures == [(f"{row['library']}/Unknown #thing", f"{row['library']}.sh3f has no some/gone.obj")]
    data = open_dataset(tmp_path / "out", "test", subset="core", normalize="none")
    assert isinstance(data, PackedDataset)
    assert (data.classes[data.labels[0]], len(data.classes)) == ("lamp", 18)
    assert (data.table["title"], data.table["creator"]) == (["Lämp"], [row["creator"]])
    assert data.meta["licence"].startswith("CC0-1.0 and CC-BY-3.0")
    # The catalog's rotation carries z to y.
    assert data[0]["points"][:, 1].max() == pytest.approx(7, abs=0.5)


def test_ldraw(tmp_path: Path) -> None:
    library = ldraw_library(tmp_path / "deb")
    for source in (tmp_path / "deb", library):  # both are noticed without --format
        out = tmp_path / f"out-{source.name}"
        summary = prepare(source, out, points=64, workers=1)
        assert summary.clouds == 4
        assert any("1 files of parts/ left alone" in note for note in summary.notes)
    data = open_dataset(out)
    assert isinstance(data, PackedDataset)
    assert len(data.classes) == 35
    assert Counter(data.split) == {"train": 1, "test": 1, "dup": 1, "unlabeled": 1}
    assert (data.meta["source_up"], data.meta["scale"], data.meta["unit"]) == ("y", 0.4, "mm")
    assert set(data.table["licence"]) == {"CC-BY-2.0"}
    assert set(data.table["author"]) == {"James Jessiman"}
    titles = {row["file"].removesuffix(".dat"): row["title"] for row in read_labels("ldraw")}
    assert data.table["title"] == [titles[name] for name in data.table["name"]]
    assert len(open_dataset(out, "train", subset="core")) == 1


def test_ldraw_pieces_that_are_missing_are_told(tmp_path: Path) -> None:
    library = ldraw_library(tmp_path / "deb")
    (library / "p/stud.dat").unlink()
    summary = prepare(library, tmp_path / "out", format="ldraw", points=64, workers=1)
    assert any("4 models lack pieces" in note for note in summary.notes)
    data = open_dataset(tmp_path / "out")
    assert isinstance(data, PackedDataset)
    assert set(data.table["missing"]) == {"2"}


def test_wrong_folders(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match="3dshapes"):
        prepare(tmp_path / "x", tmp_path / "out", format="kicad")
    with pytest.raises(InputError, match="sh3f"):
        prepare(tmp_path / "x", tmp_path / "out", format="sweethome3d")


def test_label_tables() -> None:
    kicad, furniture = read_labels("kicad"), read_labels("furniture")
    assert (len(kicad), len(furniture)) == (6227, 820)
    assert len({row["class"] for row in kicad} - {""}) == 40
    core = Counter(row["split"] for row in kicad if row["core"] == "1")
    assert core == {"train": 2465, "test": 718}
    ldraw = read_labels("ldraw")
    assert len(ldraw) == 4958
    assert Counter(row["split"] for row in ldraw) == {"train": 2446, "test": 401, "dup": 296, "unlabeled": 1815}
    assert len({row["class"] for row in ldraw} - {"", "sheet"}) == 34
    for table in (kicad, ldraw):
        families = {
            s: {(r["class"], r["family"]) for r in table if r["split"] == s and r["class"]} for s in ("train", "test")
        }
        assert families["train"].isdisjoint(families["test"])


def test_no_licence_is_claimed_for_files_that_the_table_does_not_know(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "My.3dshapes"
    folder.mkdir(parents=True)
    (folder / "Own.wrl").write_text(WRL)
    prepare(tmp_path / "mine", tmp_path / "out", points=64, workers=1)
    licence = open_dataset(tmp_path / "out").meta["licence"]
    assert licence == "of models without one in the column licence, see where they come from"

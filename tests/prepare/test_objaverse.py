"""`act3d prepare` of a folder that Objaverse's package would leave."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from act3d.cli import main
from act3d.commands.prepare import prepare
from act3d.data import open_dataset
from act3d.data.description import read_table
from act3d.errors import InputError

trimesh = pytest.importorskip("trimesh")

UIDS = [f"{number:032x}" for number in range(1, 13)]
NAMES = {UIDS[0]: "Wooden\n chair", UIDS[1]: "", UIDS[2]: "Seat"}


def packed(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(content).encode()))


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Twelve models in two folders; the last two are listed but were not downloaded, one is not a GLB."""
    root = tmp_path / ".objaverse" / "hf-objaverse-v1"
    folders = {uid: f"000-{place % 2:03d}" for place, uid in enumerate(UIDS)}
    for place, uid in enumerate(UIDS[:10]):
        path = root / "glbs" / folders[uid] / f"{uid}.glb"
        path.parent.mkdir(parents=True, exist_ok=True)
        # as Objaverse's: more than one node, the second moved
        scene = trimesh.Scene([trimesh.creation.box((1, 1 + place / 10, 1)), trimesh.creation.icosphere(1)])
        scene.add_geometry(
            trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix([3, 0, 0])
        )
        path.write_bytes(scene.export(file_type="glb") if place != 4 else b"glTF cut")
    (root / "glbs" / "000-000" / f"{UIDS[10]}.glb.tmp").write_bytes(b"glTF")
    packed(root / "object-paths.json.gz", {uid: f"glbs/{folders[uid]}/{uid}.glb" for uid in UIDS})
    for folder in ("000-000", "000-001"):
        rows = {
            uid: {"uid": uid, "name": NAMES.get(uid, f"Thing {uid[-1]}"), "license": "by", "tags": [{"name": "x"}]}
            for uid in UIDS if folders[uid] == folder
        }  # fmt: skip
        packed(root / "metadata" / f"{folder}.json.gz", rows)
    packed(root / "lvis-annotations.json.gz", {"chair": UIDS[:4], "armchair": [UIDS[3]], "Christmas_tree": UIDS[5:8]})
    return root


def test_classes_captions_licences_and_failures(download: Path, tmp_path: Path) -> None:
    made = prepare(download.parent, tmp_path / "out", points=64, workers=1)
    assert made.clouds == 9
    assert dict(made.failures).keys() == {UIDS[4], *UIDS[10:]}
    assert all(reason.endswith("is missing") for name, reason in made.failures if name in UIDS[10:])
    table = read_table(tmp_path / "out" / "clouds.csv")
    rows = {name: place for place, name in enumerate(table["name"])}
    assert [table["class"][rows[UIDS[place]]] for place in (0, 3, 5, 8)] == ["chair", "armchair", "Christmas_tree", ""]
    assert [table["caption"][rows[uid]] for uid in UIDS[:3]] == ["Wooden chair", "", "Seat"]
    assert set(table["licence"]) == {"by"}
    assert made.counts[""] == {"unlabeled": 2}
    assert made.counts["chair"] == {"train": 2, "test": 1}
    clouds = open_dataset(tmp_path / "out", "train")
    assert clouds.meta["source_formats"] == {}  # GLB says itself that y is up
    notes = "\n".join(made.notes)
    assert "1 downloads were cut short" in notes
    assert "2 models that object-paths.json.gz lists are not here" in notes
    assert "7 of 12 models have a class of LVIS" in notes
    assert "1 models have several classes" in notes


def test_a_part_chosen_on_purpose_has_no_failures(download: Path, tmp_path: Path) -> None:
    for uid in UIDS[2:10]:
        next(download.glob(f"glbs/*/{uid}.glb")).unlink()
    made = prepare(download, tmp_path / "out", points=64, workers=1)
    assert (made.clouds, made.failures) == (2, [])
    assert any("2 of 12 models are here" in note for note in made.notes)


def test_without_tables_there_are_neither_classes_nor_captions(download: Path, tmp_path: Path) -> None:
    for name in ("lvis-annotations.json.gz", "metadata/000-001.json.gz"):
        (download / name).unlink()
    (download / "metadata" / "000-000.json.gz").write_bytes(b"not packed")
    made = prepare(download, tmp_path / "out", points=64, workers=1)
    assert made.counts.keys() == {""}
    notes = "\n".join(made.notes)
    assert "lvis-annotations.json.gz is not here: models have no class" in notes
    assert "metadata/000-001.json.gz is missing: its models have no caption" in notes
    assert "metadata/000-000.json.gz is no packed JSON" in notes


def test_captions_of_a_table_go_before_names(download: Path, tmp_path: Path) -> None:
    (tmp_path / "cap.csv").write_text(f"uid,caption\n{UIDS[0]},a chair of oak\n")
    prepare(download, tmp_path / "out", points=64, workers=1, captions=tmp_path / "cap.csv")
    table = read_table(tmp_path / "out" / "clouds.csv")
    said = dict(zip(table["name"], table["caption"], strict=True))
    assert (said[UIDS[0]], said[UIDS[2]]) == ("a chair of oak", "Seat")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("object-paths.json.gz", b"\x1f\x8b"),
        ("object-paths.json.gz", gzip.compress(b'{"a": "../../etc/passwd"}')),
        ("object-paths.json.gz", gzip.compress(b"[1]")),
        ("lvis-annotations.json.gz", gzip.compress(b'{"chair": 5}')),
        ("lvis-annotations.json.gz", gzip.compress(b" " * (100 << 20))),
    ],
    ids=["cut", "path outside", "no object", "no list", "bomb"],  # bytes of gzip hold the time
)
def test_damaged_tables_end_in_one_line(
    name: str, content: bytes, download: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (download / name).write_bytes(content)
    assert main(["prepare", str(download), "--format", "objaverse", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{name} " in said


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no folder glbs"):
        prepare(tmp_path / "in", tmp_path / "out", format="objaverse")

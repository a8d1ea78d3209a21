"""Captions, part labels and pieces of assemblies, as users have them."""

import json
from pathlib import Path

import numpy as np
import pytest

from act3d.commands.prepare import prepare
from act3d.data import open_dataset
from act3d.errors import ConfigError, InputError
from act3d.prepare.own_labels import read_rows

TWO = """g leg
v 0 0 0
v 1 0 0
v 0 1 0
f 1 2 3
g {second}
v 0 0 5
v 1 0 5
v 0 1 5
f 4 5 6
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "things"
    for name, second in (("chair/a", "seat"), ("chair/b", "seat"), ("table/c", "top"), ("table/d", "top")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.obj").write_text(TWO.format(second=second))
    return root


def made(source: Path, **settings: str) -> Path:
    out = source.with_name("out")
    prepare(str(source), out=str(out), points=64, workers=1, normalization="none", **settings)
    return out


def test_groups_become_parts(source: Path) -> None:
    clouds = open_dataset(made(source, parts="groups"))
    points, parts = clouds.read(np.arange(len(clouds)), 0)
    assert clouds.parts == ["leg", "seat", "top", "other"]
    assert parts is not None
    high = points[..., 2] > 2
    for cloud, label in enumerate(clouds.labels):
        assert set(parts[cloud][~high[cloud]]) == {0}
        assert set(parts[cloud][high[cloud]]) == {1 if clouds.classes[label] == "chair" else 2}


def test_a_table_of_ones_own_joins_groups(source: Path, tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    table.write_text("file,group,part\n,leg,support\n,seat,surface\nd.obj,top,lid\n")
    clouds = open_dataset(made(source, parts=str(table)))
    _, parts = clouds.read(np.arange(len(clouds)), 0)
    assert clouds.parts == ["lid", "support", "surface", "other"]
    assert parts is not None
    found = {name: {clouds.parts[part] for part in own} for name, own in zip(clouds.names, parts, strict=True)}
    assert found["chair/a.obj"] == {"support", "surface"}
    assert found["table/c.obj"] == {"support", "other"}  # the table says nothing of its top
    assert found["table/d.obj"] == {"support", "lid"}


def test_points_of_ply_have_parts(tmp_path: Path) -> None:
    rows = "".join(f"{x} 0 {x % 3} {7 if x < 10 else 2}\n" for x in range(20))
    head = "ply\nformat ascii 1.0\nelement vertex 20\nproperty float x\nproperty float y\nproperty float z\n"
    (tmp_path / "clouds").mkdir()
    (tmp_path / "clouds/a.ply").write_text(head + "property int part\nend_header\n" + rows)
    clouds = open_dataset(made(tmp_path / "clouds", parts="points"))
    points, parts = clouds.read(np.arange(1), 0)
    assert clouds.parts == ["2", "7", "other"]
    assert parts is not None
    assert np.array_equal(parts[0] == 1, points[0, :, 0] < 9.5)


def test_each_piece_of_an_assembly(source: Path) -> None:
    clouds = open_dataset(made(source, assembly="each"))
    assert sorted(clouds.names)[:2] == ["chair/a.obj/leg", "chair/a.obj/seat"]
    assert len(clouds) == 8
    points, _ = clouds.read(np.arange(8), 0)
    for name, cloud in zip(clouds.names, points, strict=True):
        assert np.allclose(cloud[:, 2], 0 if name.endswith("leg") else 5, atol=0.01)
    splits = dict(zip(clouds.names, clouds.split, strict=True))
    assert all(splits[f"{file}/leg"] == splits[f"{file}/{other}"] for file, other in
               (("chair/a.obj", "seat"), ("table/c.obj", "top")))  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "json", "list.json", "parquet"])
def test_captions(source: Path, tmp_path: Path, kind: str) -> None:
    rows = [{"name": "chair/a", "caption": "a stool,  red"}, {"name": "d.obj", "caption": "a low table"}]
    path = tmp_path / f"texts.{kind}"
    if kind == "csv":
        path.write_text('name,caption\nchair/a,"a stool,  red"\nd.obj,a low table\n')
    elif kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows if kind == "list.json" else {row["name"]: row["caption"] for row in rows}))
    clouds = open_dataset(made(source, captions=str(path)))
    texts = dict(zip(clouds.names, clouds.columns()["caption"], strict=True))
    assert texts == {
        "chair/a.obj": "a stool, red", "chair/b.obj": "", "table/c.obj": "", "table/d.obj": "a low table"
    }  # fmt: skip


def test_mistakes_end_in_one_line(source: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("name,text\nelsewhere,words\n")
    with pytest.raises(InputError, match=r"captions: .*t.csv names none of the 4 shapes, such as chair/a.obj"):
        made(source, captions=str(table))
    with pytest.raises(InputError, match=r"parts: .*t.csv has no column group; it has \['name', 'text'\]"):
        made(source, parts=str(table))
    with pytest.raises(InputError, match="parts: none of the 4 files has materials"):
        made(source, parts="materials")
    with pytest.raises(ConfigError, match="parts: 'nothing' is no file; allowed: groups"):
        made(source, parts="nothing")
    (tmp_path / "t.json").write_text("[1, 2")
    with pytest.raises(InputError, match=r"captions: .*t.json"):
        made(source, captions=str(tmp_path / "t.json"))
    with pytest.raises(InputError, match=r"'.xlsx' is not known; allowed: .csv, .json, .parquet"):
        read_rows(tmp_path / "t.xlsx")

"""Synthetic rooms: what the scanner sees, and rooms of a small catalog in S3DIS's layout."""

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from act3d.data.rooms import S3DIS_CLASSES, open_rooms
from act3d.errors import InputError
from act3d.prepare.furniture import list_models, unit_triangles
from act3d.prepare.items import random_for
from act3d.prepare.labels import read_labels
from act3d.prepare.room_design import KINDS, Designer
from act3d.prepare.room_shell import Opening, box, wall_triangles, walls_of
from act3d.prepare.s3dis import RAW, raw_rooms
from act3d.prepare.scanner import scan
from act3d.prepare.synthetic_rooms import make_room, prepare_rooms, tasks
from act3d.readers.shape import face_areas

ROOM = box((5, 4, 3), (2.5, 2, 0))
THING = box((0.8, 0.6, 1.0), (2.4, 2.3, 0))
EYE = np.array([1.0, 1.0, 1.6])
SIZES = {"table": (120, 70, 74), "chair": (45, 50, 85), "armchair": (80, 80, 90), "sofa": (190, 85, 80),
         "cabinet": (90, 40, 150), "door": (90, 10, 205), "window": (100, 12, 120), "lamp": (30, 30, 60),
         "plant": (40, 40, 90), "bed": (140, 200, 60), "stool_bench": (60, 35, 45), "vessel": (15, 15, 15),
         "electronics": (40, 30, 30), "appliance": (60, 60, 90)}  # fmt: skip
CUBE = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 2) for z in (0, 3)) + (
    "f 1 2 4 3\nf 5 6 8 7\nf 1 2 6 5\nf 3 4 8 7\nf 1 3 7 5\nf 2 4 8 6\n"
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives with the names and ids of the real ones, whose models are boxes."""
    folder = tmp_path_factory.mktemp("furniture")
    rows: dict[str, list[dict[str, str]]] = {}
    seen: dict[tuple[str, str], int] = {}
    for row in read_labels("furniture"):
        key = (row["class"], row["split"])
        seen[key] = seen.get(key, 0) + 1
        if row["class"] in SIZES and seen[key] <= 3:
            rows.setdefault(row["library"], []).append(row)
    for library, models in rows.items():
        text = ""
        for k, row in enumerate(models, start=1):
            width, depth, height = SIZES[row["class"]]
            text += f"id#{k}={row['id']}\nname#{k}=x\nmodel#{k}=/m/{k}.obj\ncreator#{k}=someone\n"
            text += f"width#{k}={width}\ndepth#{k}={depth}\nheight#{k}={height}\n"
        with zipfile.ZipFile(folder / f"{library}.sh3f", "w") as file:
            file.writestr("PluginFurnitureCatalog.properties", text)
            for k in range(1, len(models) + 1):
                file.writestr(f"m/{k}.obj", CUBE)
    return folder


def test_only_visible_surfaces_are_seen() -> None:
    found = scan(np.concatenate([ROOM, THING]), EYE, 20_000, np.random.default_rng(0))
    assert 0.97 * 20_000 < len(found.points) < 1.04 * 20_000
    on_thing = found.triangles >= len(ROOM)
    # No ray that ends on the room's shell has passed through the box.
    ray = found.points[~on_thing] - EYE
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (np.array([2.02, 2.02, 0.0]) - EYE) / ray, (np.array([2.78, 2.58, 0.98]) - EYE) / ray
    enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
    through = (enter < leave) & (enter > 0) & (enter < 0.97)
    assert on_thing.sum() > 200
    assert through.sum() <= 0.02 * on_thing.sum()
    # Of the box only the top and the two sides that face the scanner are seen.
    seen = found.points[on_thing] - [2.4, 2.3, 0]
    faces = (np.abs(seen[:, 0] + 0.4) < 0.03) | (np.abs(seen[:, 1] + 0.3) < 0.03) | (np.abs(seen[:, 2] - 1) < 0.03)
    assert faces.mean() > 0.98


def test_density_falls_with_distance() -> None:
    wall = box((0.001, 20, 3), (3, 0, 0))
    found = scan(wall, np.array([0, 0, 1.5]), 200_000, np.random.default_rng(0)).points
    near, far = (np.abs(found[:, 1]) < 0.5).sum(), (np.abs(np.abs(found[:, 1]) - 4.0) < 0.25).sum()
    # At y = 4 the wall is 5 m away, at a cosine of 3/5: (3/5)^2 * 3/5 of the density in front.
    assert 0.6 < (far / near) / (3 / 5) ** 3 < 1.6


def test_a_wall_has_the_area_it_should() -> None:
    wall = walls_of(4, 3)[0]
    plain = wall_triangles(wall, 2.5, [], 0.1)
    cut = wall_triangles(wall, 2.5, [Opening(1, 2, 0, 2), Opening(2.5, 3.5, 1, 2)], 0.1)

    def area(triangles: np.ndarray) -> float:
        return float(face_areas(triangles.reshape(-1, 3), np.arange(len(triangles) * 3).reshape(-1, 3)).sum())

    assert area(plain) == pytest.approx(10)
    # Less the two holes, plus their reveals: three sides of the door, four of the window.
    assert area(cut) == pytest.approx(10 - 2 - 1 + 0.1 * (2 + 2 + 1) + 0.1 * 4)


def test_models_are_unit_boxes_that_stand_upright(catalog: Path) -> None:
    models = list_models(sorted(catalog.glob("*.sh3f")))
    assert {model.cls for model in models} == set(SIZES)
    triangles = unit_triangles(models[0].archive, models[0].member, models[0].rotation)
    corners = triangles.reshape(-1, 3)
    assert np.allclose(corners.min(axis=0), [-0.5, -0.5, 0])
    assert np.allclose(corners.max(axis=0), [0.5, 0.5, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_things_stand_inside_and_not_in_each_other(catalog: Path, kind: str) -> None:
    models = list_models(sorted(catalog.glob("*.sh3f")))
    for seed in range(5):
        design = Designer(kind, models, random_for(seed, kind)).design()
        width, depth, height = design.size
        classes = [thing.cls for thing in design.things]
        assert {"floor", "ceiling", "wall"} <= set(classes) <= set(S3DIS_CLASSES)
        for thing in design.things:
            corners = thing.triangles.reshape(-1, 3)
            assert corners[:, 2].min() > -1e-6, thing.cls
            assert corners[:, 2].max() < height + 1e-6, thing.cls
            reach = 0.3 if thing.cls in ("wall", "door", "window") else 0.1
            assert (corners[:, :2] > -reach).all(), thing.cls
            assert (corners[:, :2] < np.array([width, depth]) + reach).all(), thing.cls


def test_rooms_in_the_layout_of_s3dis(catalog: Path, tmp_path: Path) -> None:
    first = prepare_rooms(catalog, tmp_path / "a", 6, 4000, seed=1, workers=1)
    prepare_rooms(catalog, tmp_path / "b", 6, 4000, seed=1, workers=2)
    rooms = raw_rooms(tmp_path / "a")
    assert [room.parent.name for room in rooms] == [f"Area_{i}" for i in range(1, 7)]
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a" / RAW).glob("**/*.txt"))
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    assert all(f.name.split("_")[0] in S3DIS_CLASSES for f in files)
    assert all(len(line.split()) == 6 for line in (tmp_path / "a" / files[0]).read_text().splitlines())
    folder = open_rooms(tmp_path / "a")
    assert folder.choose()[1] == [room for room in folder.rooms if room.startswith("Area_5")]
    for counts in first.counts.values():
        assert 3000 < counts.sum() < 5000
    assert "someone" not in (tmp_path / "a" / "furniture.csv").read_text()  # the table's creators, not the catalog's
    with pytest.raises(InputError, match="other settings"):
        prepare_rooms(catalog, tmp_path / "a", 6, 4000, seed=2)


def test_the_held_out_area_has_furniture_of_its_own(catalog: Path) -> None:
    models = list_models(sorted(catalog.glob("*.sh3f")))
    for task in tasks(6):
        splits = {model.split for model in make_room(task, models, 1000, 0).design.models}
        assert splits <= ({"test"} if task.area == 5 else {"train"})


def test_no_furniture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.sh3f"):
        prepare_rooms(tmp_path, tmp_path / "out", 1, 1000)


def test_a_model_that_cannot_be_read_costs_its_rooms_only(catalog: Path, tmp_path: Path) -> None:
    shutil.copytree(catalog, tmp_path / "in")
    whole = prepare_rooms(catalog, tmp_path / "whole", 6, 1000, workers=2)
    with (tmp_path / "whole" / "furniture.csv").open() as file:
        used = [row["model"] for row in csv.DictReader(file)]
    models = {model.name: model for model in list_models(sorted((tmp_path / "in").glob("*.sh3f")))}
    broken = models[used[0]]
    with zipfile.ZipFile(broken.archive) as file:
        content = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(broken.archive, "w") as file:
        for name, data in content.items():
            file.writestr(name, b"v 1 2\n" if name == broken.member else data)
    made = prepare_rooms(tmp_path / "in", tmp_path / "out", 6, 1000, workers=2)
    assert made.failures
    assert {name for name, _ in made.failures} == whole.counts.keys() - made.counts.keys()
    assert all("a vertex line has fewer than three numbers" in reason for _, reason in made.failures)
    assert open_rooms(tmp_path / "out").rooms == sorted(made.counts)

"""Changes to a prepared dataset that nobody should miss: what opening says, and what check-data says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from act3d.data import layouts, open_dataset, packed
from act3d.data.loading import make_loader
from act3d.data.rooms import open_rooms, write_description
from act3d.errors import InputError
from act3d.samples import sample_root
from tests.data.helpers import without_checksums, write_packed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("packed") / "set")


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "set")


def flip_a_bit(root: Path, name: str = "points-00001.npy") -> None:
    content = bytearray((root / name).read_bytes())
    content[-20] ^= 1
    (root / name).write_bytes(content)


def swap_rows(root: Path) -> None:
    header, first, second, *rest = (root / "clouds.csv").read_text().splitlines(keepends=True)
    (root / "clouds.csv").write_text("".join([header, second, first, *rest]))


def rename_a_class(root: Path) -> None:
    for name in ("dataset.json", "clouds.csv"):
        text = (root / name).read_text()
        (root / name).write_text(text.replace('"a"', '"train"').replace(",a,", ",train,"))


def swap_clouds(root: Path) -> None:
    shard = np.load(root / "points-00000.npy")
    np.save(root / "points-00000.npy", shard[::-1])


CHANGES = [flip_a_bit, lambda root: flip_a_bit(root, "parts-00002.npy"), swap_rows, rename_a_class, swap_clouds]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_check_data_sees_every_change(copy: Path, change: Callable[[Path], None], old: bool) -> None:
    if old:
        without_checksums(copy)
    (before,) = layouts.check_folder(copy)
    assert before.problems == []
    change(copy)
    (after,) = layouts.check_folder(copy)
    assert after.problems
    assert "changed after it was written" in after.problems[0]
    assert after.fingerprint != before.fingerprint


def test_check_data_names_the_file(copy: Path) -> None:
    flip_a_bit(copy)
    (found,) = layouts.check_folder(copy)
    assert found.problems == [f"{copy / 'points-00001.npy'} was changed after it was written (its checksum differs)"]


@pytest.mark.parametrize(("change", "name"), [(swap_rows, "clouds.csv"), (rename_a_class, "dataset.json")])
def test_opening_sees_what_names_the_clouds(copy: Path, change: Callable[[Path], None], name: str) -> None:
    change(copy)
    with pytest.raises(InputError, match=rf"{name} was changed after it was written"):
        open_dataset(copy)


@pytest.mark.parametrize("name", ["points-00001.npy", "parts-00001.npy"])
def test_reading_sees_a_changed_shard_before_its_first_cloud(copy: Path, name: str) -> None:
    flip_a_bit(copy, name)
    data = open_dataset(copy)
    shards = np.searchsorted([7, 15], np.arange(len(data)), side="right")
    data.fetch(np.flatnonzero(shards == 0).tolist(), 0)  # what is whole can be read
    wanted = rf"{name} was changed after it was written \(its checksum differs\)"
    for read in (lambda rows: data.fetch(rows.tolist(), 0), data.read_whole):
        with pytest.raises(InputError, match=wanted):
            read(np.flatnonzero(shards == 1))
        with pytest.raises(InputError, match=wanted):  # and again: nobody must go on with it
            read(np.array([0, len(data) - 1, np.flatnonzero(shards == 1)[0]]))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_ends_in_one_line_at_a_changed_shard(copy: Path, workers: int) -> None:
    flip_a_bit(copy)
    with pytest.raises(InputError) as caught:
        list(make_loader(open_dataset(copy), 4, workers=workers))
    said = "was changed after it was written (its checksum differs); prepare the dataset again"
    assert str(caught.value) == f"{copy / 'points-00001.npy'} {said}"


def test_reading_an_old_dataset_checks_nothing(copy: Path) -> None:
    flip_a_bit(without_checksums(copy))
    assert len(open_dataset(copy).fetch([8, 9, 10], 0)["points"]) == 3


def test_a_shard_is_checked_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(packed, "check_file", lambda path, expected: checked.append(path.name))
    data = open_dataset(copy)
    assert checked == []
    for _ in range(2):
        data.fetch(list(range(len(data))), 0)
    assert sorted(checked) == sorted(path.name for path in copy.glob("*-*.npy"))


def test_datasets_of_earlier_versions_open(copy: Path) -> None:
    before = open_dataset(copy).fingerprint
    assert open_dataset(without_checksums(copy)).fingerprint == before


def test_the_sample_has_checksums() -> None:
    (found,) = layouts.check_folder(sample_root())
    assert found.problems == []
    assert set(json.loads((sample_root() / "dataset.json").read_text())["checksums"]) == {
        "points-00000.npy", "parts-00000.npy", "clouds.csv"
    }  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        {"shards": [{"count": 8, "points": "../points-00000.npy", "parts": "x"}]},
        {"shards": [{"count": -1, "points": "points-00000.npy", "parts": "parts-00000.npy"}]},
        {"shards": [3]},
        {"shards": []},
        {"shards": {}},
        {"classes": "abc"},
        {"classes": ["a", "a", "b"]},
        {"classes": [1, 2, 3]},
        {"points": "64"},
        {"dtype": "object"},
        {"splits": ["train"]},
        {"name": None},
    ],
)
def test_damaged_descriptions_are_named(copy: Path, damage: dict[str, object]) -> None:
    info = json.loads((without_checksums(copy) / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(info | damage))
    with pytest.raises(InputError, match=r"dataset\.json is damaged"):
        open_dataset(copy)
    (found,) = layouts.check_folder(copy)
    assert "dataset.json is damaged" in found.problems[0]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"name,class\n", b"name\nx\n", b"name,class,split,cx,cy,cz,scale,part_ids,core\n",
        b'"' + b"x" * 200_000, b"a" * 200_000 + b",b\n",
    ],
)  # fmt: skip
def test_damaged_tables_are_named(copy: Path, content: bytes) -> None:
    without_checksums(copy)
    (copy / "clouds.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"clouds\.csv"):
        open_dataset(copy)


def test_numbers_and_classes_of_the_table_are_checked(copy: Path) -> None:
    without_checksums(copy)
    text = (copy / "clouds.csv").read_text()
    (copy / "clouds.csv").write_text(text.replace("cloud1,b,train,1.0,", "cloud1,b,train,one,"))
    with pytest.raises(InputError, match=r"clouds\.csv is damaged .*one"):
        open_dataset(copy)
    (copy / "clouds.csv").write_text(text.replace("cloud1,b,", "cloud1,d,"))
    with pytest.raises(InputError, match=r"clouds\.csv has a class 'd', which dataset\.json does not know"):
        open_dataset(copy)


def write_rooms(root: Path) -> Path:
    root.mkdir()
    for number in range(2):
        rng = np.random.default_rng(number)
        np.save(root / f"hall_{number}.npy", np.column_stack([rng.random((50, 6)), np.arange(50) % 2]))
    write_description(root, "halls", ["floor", "wall"], ["hall_0", "hall_1"], source="somewhere")
    return root


def test_rooms_have_checksums(tmp_path: Path) -> None:
    (before,) = layouts.check_folder(write_rooms(tmp_path / "a"))
    assert before.problems == []
    (again,) = layouts.check_folder(write_rooms(tmp_path / "b"))
    assert again.fingerprint == before.fingerprint
    flip_a_bit(tmp_path / "a", "hall_1.npy")
    opened = open_rooms(tmp_path / "a")
    assert len(opened.read("hall_0").points) == 50
    with pytest.raises(InputError, match=r"hall_1\.npy was changed after it was written"):
        opened.read("hall_1")
    (after,) = layouts.check_folder(tmp_path / "a")
    assert after.problems == [
        f"{tmp_path / 'a' / 'hall_1.npy'} was changed after it was written (its checksum differs)"
    ]


def test_a_renamed_class_of_rooms(tmp_path: Path) -> None:
    path = write_rooms(tmp_path / "a") / "scenes.json"
    path.write_text(path.read_text().replace('"wall"', '"train"'))
    with pytest.raises(InputError, match=r"scenes\.json was changed after it was written"):
        open_rooms(tmp_path / "a")


@pytest.mark.parametrize("damage", [{"classes": "ab"}, {"classes": [1]}, {"rooms": 3}, {"splits": []}, {"name": 1}])
def test_damaged_descriptions_of_rooms(tmp_path: Path, damage: dict[str, object]) -> None:
    path = write_rooms(tmp_path / "a") / "scenes.json"
    info = {key: value for key, value in json.loads(path.read_text()).items() if key != "digest"}
    path.write_text(json.dumps(info | damage))
    with pytest.raises(InputError, match=r"scenes\.json is damaged"):
        open_rooms(tmp_path / "a")


def test_rooms_of_texts_are_refused(tmp_path: Path) -> None:
    root = write_rooms(tmp_path / "a")
    np.save(root / "hall_1.npy", np.full((3, 7), "x"))
    (found,) = layouts.check_folder(root)
    assert "holds <U1, no numbers" in found.problems[0]

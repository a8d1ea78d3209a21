"""ShapeNetPart in its released layout."""

import json
from pathlib import Path

import numpy as np
import pytest

from act3d.data import open_dataset
from act3d.data.shapenetpart import FOLDER, NAMES, part_ids
from act3d.errors import InputError

TRAIN = Path("train_test_split/shuffled_train_file_list.json")
SYNSETS = {"Airplane": "02691156", "Lamp": "03636649", "Table": "04379243"}


def write_release(root: Path, points: int = 40) -> Path:
    """A few shapes as the release has them: names, spacing and number formats are its own."""
    base = root / FOLDER
    (base / "train_test_split").mkdir(parents=True)
    (base / "synsetoffset2category.txt").write_text("".join(f"{name}\t{code}\n" for name, code in SYNSETS.items()))
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name, code in SYNSETS.items():
        (base / code).mkdir()
        for number, split in enumerate(("train", "train", "val", "test")):
            ids = part_ids()[name]
            rows = np.column_stack([rng.normal(size=(points, 6)), rng.choice(ids, points)])
            text = "".join(("%.5f " * 3 + "%.4f " * 3 + "%.6f\n") % tuple(row) for row in rows)
            (base / code / f"shape{number}.txt").write_text(text)
            lists[split].append(f"shape_data/{code}/shape{number}")
    for split, entries in lists.items():
        (base / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(entries))
    return base


def test_reads_the_released_layout(tmp_path: Path) -> None:
    base = write_release(tmp_path)
    clouds = open_dataset(tmp_path, "train+val", 30)
    assert clouds.classes == list(SYNSETS)
    assert len(clouds) == 9
    assert clouds.class_parts == {"Airplane": [0, 1, 2, 3], "Lamp": [24, 25, 26, 27], "Table": [47, 48, 49]}
    batch = clouds.fetch([0, 5])
    assert batch["points"].shape == (2, 30, 3)
    assert batch["parts"].shape == (2, 30)
    assert batch["label"].tolist() == [0, 2]
    assert clouds.names[0] == "02691156/shape0"
    assert set(batch["parts"][1].tolist()) <= {47, 48, 49}
    test = open_dataset(base, "test", 30)
    assert len(test) == 3
    assert test.fingerprint == clouds.fingerprint  # of the dataset, not of a split


def test_points_keep_their_parts_and_change_by_epoch(tmp_path: Path) -> None:
    write_release(tmp_path)
    clouds = open_dataset(tmp_path, "train", 30, normalize="none")
    rows = np.loadtxt(tmp_path / FOLDER / "02691156" / "shape0.txt", dtype=np.float64)
    part_at = {tuple(np.float32(row[:3])): int(row[6]) for row in rows}
    first, again, later = clouds.fetch([0], 0), clouds.fetch([0], 0), clouds.fetch([0], 1)
    assert [part_at[tuple(p)] for p in first["points"][0].numpy()] == first["parts"][0].tolist()
    assert (first["points"] == again["points"]).all()
    assert not (first["points"] == later["points"]).all()
    more = open_dataset(tmp_path, "train", 90, normalize="none").fetch([0])
    assert len(np.unique(more["points"][0].numpy(), axis=0)) == 40  # all of them, and some again


def test_part_names_and_ids() -> None:
    ids = part_ids()
    assert [i for parts in ids.values() for i in parts] == list(range(50))
    assert ids["Motorbike"] == [30, 31, 32, 33, 34, 35]
    assert NAMES[46].startswith("Skateboard")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "03636649" / "shape0.txt").write_text("1 2 3 4 5 6\n"), "7 numbers"),
        (lambda b: (b / "03636649" / "shape0.txt").write_text("1 2 3 4 5 6 0.0\n"), "its category has"),
        (lambda b: (b / "03636649" / "shape0.txt").write_text(""), "no points"),
        (lambda b: (b / "03636649" / "shape0.txt").unlink(), "missing"),
        (lambda b: (b / TRAIN).write_text("[1"), "cannot be read"),
        (lambda b: (b / TRAIN).write_text('["a/../b"]'), "not of the form"),
        (lambda b: (b / "synsetoffset2category.txt").write_text("Dragon\n"), "not a category"),
        (lambda b: (b / "synsetoffset2category.txt").write_text("Dragon ../1\n"), "not a category"),
        (lambda b: (b / "synsetoffset2category.txt").write_text("Lamp 1\nLamp 2\n"), "twice"),
        (lambda b: (b / "synsetoffset2category.txt").write_text("Dragon 1\n"), "not of the form"),
        (lambda b: (b / TRAIN).write_text("{}"), "does not hold a list"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    base = write_release(tmp_path)
    damage(base)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path, "train", 30).fetch([0, 1, 2, 3, 4, 5])


def test_unknown_split(tmp_path: Path) -> None:
    write_release(tmp_path)
    with pytest.raises(InputError, match="no split 'valid'"):
        open_dataset(tmp_path, "valid", 30)


def write_own(root: Path, ids: dict[str, list[int]]) -> Path:
    """The released layout with categories of one's own, one shape a split."""
    (root / "train_test_split").mkdir(parents=True)
    (root / "synsetoffset2category.txt").write_text("".join(f"{name} {name}s\n" for name in ids))
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        entries = []
        for name, parts in ids.items():
            (root / f"{name}s").mkdir(exist_ok=True)
            # The first part occurs in test shapes only.
            occurring = parts if split == "test" else parts[1:]
            rows = np.column_stack([rng.normal(size=(40, 6)), np.resize(occurring, 40)])
            np.savetxt(root / f"{name}s" / f"{split}.txt", rows, "%.4f")
            entries.append(f"shape_data/{name}s/{split}")
        (root / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(entries))
    return root


def test_categories_of_ones_own(tmp_path: Path) -> None:
    root = write_own(tmp_path / "own", {"dragon": [0, 1, 2], "Lamp": [3, 4]})
    train, test = open_dataset(root, "train", 30), open_dataset(root, "test", 30)
    assert (train.name, train.classes) == ("own", ["dragon", "Lamp"])
    assert train.class_parts == test.class_parts == {"dragon": [0, 1, 2], "Lamp": [3, 4]}
    assert train.parts == ["dragon 0", "dragon 1", "dragon 2", "Lamp 3", "Lamp 4"]
    assert set(test.fetch([0])["parts"].unique().tolist()) == {0, 1, 2}
    before = train.fingerprint
    assert test.fingerprint == before
    (root / "parts.json").write_text(
        json.dumps({"dragon": {"0": "head", "1": "wing", "2": "tail"}, "Lamp": {"3": "a"}})
    )
    named = open_dataset(root, "train", 30)
    assert named.parts == ["dragon head", "dragon wing", "dragon tail", "Lamp a"]
    assert named.fingerprint != before
    with pytest.raises(InputError, match=r"has part 4; its category has \[3\]"):
        named.fetch([1])


def test_parts_are_looked_for_once_until_a_file_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_own(tmp_path / "own", {"dragon": [0, 1, 2], "Lamp": [3, 4]})
    for split in ("train", "val", "test"):
        open_dataset(root, split, 30)
    assert capsys.readouterr().err.count("looking for parts") == 1
    file = root / "Lamps" / "val.txt"
    file.write_text(file.read_text().replace(" 4.0000\n", " 7.0000\n"))
    assert open_dataset(root, "train", 30).class_parts["Lamp"] == [3, 4, 7]


def test_categories_that_count_their_parts_from_nought(tmp_path: Path) -> None:
    clouds = open_dataset(write_own(tmp_path / "own", {"dragon": [0, 1, 2], "lizard": [0, 1]}), "train", 30)
    assert clouds.parts == ["part 0", "part 1", "dragon 2"]
    assert clouds.class_parts == {"dragon": [0, 1, 2], "lizard": [0, 1]}


@pytest.mark.parametrize("content", ["[]", "{", '{"dragon": 3}', '{"dragon": {"a": "b"}}', '{"dragon": {"2000": "b"}}'])
def test_damaged_part_names(tmp_path: Path, content: str) -> None:
    root = write_own(tmp_path / "own", {"dragon": [0, 1, 2]})
    (root / "parts.json").write_text(content)
    with pytest.raises(InputError, match=r"parts\.json"):
        open_dataset(root, "train", 30)


def test_part_labels_are_whole_numbers(tmp_path: Path) -> None:
    root = write_own(tmp_path / "own", {"dragon": [0, 1, 2]})
    (root / "dragons" / "val.txt").write_text("1 2 3 4 5 6 0.5\n")
    with pytest.raises(InputError, match=r"val\.txt has part labels that are no whole numbers"):
        open_dataset(root, "train", 30)

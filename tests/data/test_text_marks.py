"""Byte order marks, as editors put them before a text, are no part of what it says."""

import json
from pathlib import Path

import pytest

from act3d.commands.convert import _names
from act3d.data import open_dataset
from act3d.data.reading import read_lines
from act3d.errors import InputError
from act3d.presets import read_config
from tests.data.helpers import without_checksums, write_packed

MARK = "\ufeff"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "names.txt").write_text("\nchair\n t\u00e4ble \n\nlamp", encoding=encoding)
    assert read_lines(tmp_path / "names.txt") == ["chair", "t\u00e4ble", "lamp"]
    assert _names(str(tmp_path / "names.txt")) == ["chair", "t\u00e4ble", "lamp"]


def test_other_encodings_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("t\u00e4ble\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"names\.txt is no text in UTF-8 or UTF-16"):
        read_lines(tmp_path / "names.txt")
    with pytest.raises(InputError, match=r"gone\.txt is missing"):
        read_lines(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="is not a regular file"):
        read_lines(tmp_path)


def test_tables_and_descriptions_of_datasets(tmp_path: Path) -> None:
    root = without_checksums(write_packed(tmp_path / "set"))
    before = open_dataset(root)
    table = (root / "clouds.csv").read_text()
    (root / "clouds.csv").write_text(MARK + table)
    (root / "dataset.json").write_text(MARK + (root / "dataset.json").read_text())
    after = open_dataset(root)
    assert after.columns() == before.columns()
    assert next(iter(after.columns())) == "name"


def test_settings(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(f"{MARK}data:\n  points: 64\n")
    assert read_config(tmp_path / "own.yaml") == {"data": {"points": 64}}


def test_results_of_runs(tmp_path: Path) -> None:
    from act3d.evaluation.finished_runs import read_runs

    (tmp_path / "results.json").write_text(MARK + json.dumps({"metrics": {"oa": 1.0}, "seed": 2}))
    assert [run.seed for run in read_runs(tmp_path)] == [2]

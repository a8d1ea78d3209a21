"""The benchmark of URLs reads what it is told to."""

from pathlib import Path

import pytest

from benchmarks import streaming
from tests.data.helpers import write_packed


def test_it_measures_folders_and_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_packed(tmp_path / "set", clouds=20)
    monkeypatch.setenv("ACT3D_CACHE", str(tmp_path))  # put back when the test ends
    monkeypatch.setattr(streaming, "POINTS", 16)
    found = streaming.measure([str(root), root.as_uri()], 1)
    assert list(found) == [str(root), f"{root.as_uri()}, fetched", f"{root.as_uri()}, copies there"]
    assert all(value > 0 for pair in found.values() for value in pair)

"""The page of costs holds what the script prints, and the script's figures stand among the measured ones."""

import json
from pathlib import Path

import pytest

from benchmarks import costs

ROOT = Path(__file__).parents[2]


def test_every_figure_is_a_measured_one() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    entries = json.loads(costs.FIGURES.read_text())
    assert len(entries) > 8
    for name, entry in entries.items():
        assert entry["quote"] in results, name
        assert entry["value"] > 0
        assert entry["what"]


def test_the_page_holds_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "costs.md").read_text()
    costs.main([])
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(printed) > 30
    assert [line for line in printed if line not in page.splitlines()] == []


def test_exchange_of_a_ring() -> None:
    # 25 million float32 gradients: 0.1 GB; of 4 nodes each sends and gets 1.5 times that over 12.5 GB/s
    assert costs.exchange_s(25e6, 4, 100) == pytest.approx(0.012)
    assert costs.exchange_s(25e6, 1, 100) == 0


def test_assumptions_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    costs.main(["--gpus", "8", "--batch", "32", "--gbit", "1"])
    slow = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| stage II | 64 | 16384 | 22.4 | 1 610 | 1 % |") for line in slow)


def test_small_collections_see_as_many_clouds_as_released() -> None:
    assert costs.seen(1000) == costs.seen(52_470) == 12_585_600
    assert costs.seen(10_000_000) == 30_000_000

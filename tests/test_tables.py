import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from act3d import tables
from act3d.errors import InputError, MissingDependency
from act3d.tables import Table, Tabular

TABLE = Table(["class", "clouds", "% right"], [["a|b", 12, 99.123], ["[red]chair\x1b[2J\nforged", 3, None]], "a <set>")


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    long = Table(["name", "value"], [["x" * 300, 1.25], ["y", 10]], digits=2)
    long.print()
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "value"]
    assert first == "x" * 300 + "   1.25"
    assert second.endswith("     10")


def test_a_narrow_terminal_cuts_no_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tables, "Console", partial(Console, force_terminal=True, width=40, color_system=None))
    names = [f"DIP_Socket-28_W6.9mm_{'x' * 40}_{end}" for end in ("ZIF", "THT")]
    Table(["name", "mAP"], [[name, 1.0] for name in names]).print()
    shown = "".join(capsys.readouterr().out.split()).replace("1.0", "")
    assert all(name in shown for name in names)


def test_names_of_strangers_neither_style_nor_move_nor_forge(capsys: pytest.CaptureFixture[str]) -> None:
    TABLE.print()
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 4
    assert r"[red]chair\x1b[2J\nforged" in out
    assert "\x1b" not in out


def test_numbers_stay_numbers_in_csv_and_json(tmp_path: Path) -> None:
    for suffix in ("csv", "json", "md"):
        TABLE.write(tmp_path / f"t.{suffix}")
    assert (tmp_path / "t.csv").read_text().startswith("class,clouds,% right\na|b,12,99.123\n")
    assert json.loads((tmp_path / "t.json").read_text())[0] == {"class": "a|b", "clouds": 12, "% right": 99.123}
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[:3] == ["| class | clouds | % right |", "| --- | --- | --- |", "| a\\|b | 12 | 99.1 |"]
    assert len(lines) == 4
    with pytest.raises(InputError, match=r"must end in \.json, \.csv, \.md or \.tex"):
        TABLE.write(tmp_path / "t.txt")


def test_latex_escapes_names_and_sets_strong_rows_bold(tmp_path: Path) -> None:
    table = Table(["a_b", "%"], [["50 & up~", 1.25], ["mean ± sd {x}", None]], digits=2, strong=(0,))
    table.write(tmp_path / "t.tex")
    assert (tmp_path / "t.tex").read_text(encoding="utf-8").splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"a\_b & \% \\",
        r"\midrule",
        r"\textbf{50 \& up\textasciitilde{}} & \textbf{1.25} \\",
        r"mean $\pm$ sd \{x\} &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_html_is_escaped() -> None:
    assert "<caption>a &lt;set&gt;</caption>" in TABLE.html()
    assert TABLE.html().count("<tr>") == 3


class Result(Tabular):
    def table(self) -> Table:
        return TABLE


def test_pandas_is_asked_for_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependency, match="pip install pandas"):
        Result().to_pandas()
    given = {}
    fake = ModuleType("pandas")
    fake.DataFrame = lambda rows, columns: given.update(rows=rows, columns=columns)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", fake)
    Result().to_pandas()
    assert given["columns"] == ["class", "clouds", "% right"]
    assert given["rows"][0] == ["a|b", 12, 99.123]
    assert Result()._repr_html_() == TABLE.html()

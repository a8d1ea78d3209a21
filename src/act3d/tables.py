"""Tables of results: printed on a terminal, written as CSV, Markdown, LaTeX or JSON, shown by notebooks and pandas."""

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich import table as rich_table
from rich.console import Console
from rich.text import Text

from act3d.errors import InputError, MissingDependency
from act3d.files import printable, write_json, write_text

Cell = str | int | float | bool | None
SUFFIXES = (".json", ".csv", ".md", ".tex")
_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
        **{character: "\\" + character for character in "&%$#_{}"},
    }
)  # fmt: skip


def count_text(count: int | None) -> str | None:
    """A large number in three digits: 834, 36.9 k, 1.24 M; None = nothing to show."""
    if count is None or count < 1000:
        return None if count is None else str(count)
    value, unit = (count / 1e3, "k") if count < 999_500 else (count / 1e6, "M")
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"


def trained_text(counts: Mapping[str, int] | None) -> str:
    """How many parameters were trained, beside a table of results; "" where that is not known."""
    if not counts:
        return ""
    return f"{count_text(counts['trained'])} of {count_text(counts['all'])} parameters trained"


@dataclass
class Table:
    """Rows under named columns.

    Attributes:
        columns: their names.
        rows: one value a column; None = nothing to show. Numbers stand on the right.
        title: a line above the table.
        digits: digits after the point of every float, when it is shown as text.
        strong: numbers of the rows that stand out.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]] = ()
    title: str = ""
    digits: int = 1
    strong: Sequence[int] = ()

    def lines(self) -> list[list[str]]:
        """Return the cells as text, without the header."""
        return [[self._text(cell) for cell in row] for row in self.rows]

    def _text(self, cell: Cell) -> str:
        if cell is None:
            return ""
        return f"{cell:.{self.digits}f}" if isinstance(cell, float) else printable(str(cell))

    def print(self) -> None:
        """Print the table on standard output. In a pipe no line is wrapped."""
        console = Console()
        if not console.is_terminal:
            console = Console(width=10_000)
        if self.title:
            console.print(Text(printable(self.title)))
        shown = rich_table.Table(box=None, pad_edge=False)
        for place, name in enumerate(self.columns):
            # Folded, not cut: names of files often differ only at their end.
            justify: Literal["left", "right"] = "right" if self._is_numbers(place) else "left"
            shown.add_column(Text(printable(name)), justify=justify, overflow="fold")
        for number, line in enumerate(self.lines()):
            shown.add_row(*map(Text, line), style="bold" if number in self.strong else None)
        console.print(shown)

    def records(self) -> list[dict[str, Cell]]:
        """Return every row as a dictionary, with numbers as they are."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def csv(self) -> str:
        """Return the table as CSV, with numbers as they are."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()

    def markdown(self) -> str:
        """Return the table as Markdown."""
        escaped = [[cell.replace("|", r"\|") for cell in line] for line in [list(self.columns), *self.lines()]]
        lines = [escaped[0], ["---"] * len(self.columns), *escaped[1:]]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """Return the table for LaTeX with the package booktabs; rows of `strong` are bold."""
        columns = "".join("r" if self._is_numbers(place) else "l" for place in range(len(self.columns)))
        rows = []
        for number, line in enumerate(self.lines()):
            cells = [cell.translate(_TEX) for cell in line]
            rows.append([rf"\textbf{{{cell}}}" if cell and number in self.strong else cell for cell in cells])
        head = " & ".join(name.translate(_TEX) for name in self.columns)
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head + r" \\", r"\midrule"]
        lines += [" & ".join(cells) + r" \\" for cells in rows]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def _is_numbers(self, place: int) -> bool:
        cells = [row[place] for row in self.rows if row[place] is not None]
        return bool(cells) and all(isinstance(cell, int | float) for cell in cells)

    def html(self) -> str:
        """Return the table as HTML."""

        def row(cells: Iterable[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}{row(self.columns, 'th')}{''.join(row(line, 'td') for line in self.lines())}</table>"

    def to_pandas(self) -> Any:
        """Return the table as a pandas data frame.

        Raises:
            MissingDependency: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingDependency("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame(list(map(list, self.rows)), columns=list(self.columns))

    def write(self, path: str | Path) -> None:
        """Write the table as CSV, Markdown, LaTeX or JSON, by the file's suffix.

        Raises:
            InputError: another suffix.
        """
        path = Path(path)
        check_table_path(path)
        if path.suffix == ".json":
            write_json(path, self.records())
        else:
            write_text(path, {".csv": self.csv, ".md": self.markdown, ".tex": self.latex}[path.suffix]())


def check_table_path(path: str | Path) -> None:
    """Check that a table can be written to a file of this name.

    Raises:
        InputError: the suffix is none of these.
    """
    if Path(path).suffix not in SUFFIXES:
        raise InputError(f"out: {path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


class Tabular:
    """A result that is a table: it can be given to pandas, and notebooks show it."""

    def table(self) -> Table:
        """Return the result as a table."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """Return the table as a pandas data frame; see `Table.to_pandas`."""
        return self.table().to_pandas()

    def _repr_html_(self) -> str:
        return self.table().html()

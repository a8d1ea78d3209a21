"""`act3d compare`: results of several runs in one table."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import InputError
from act3d.settings.command import command
from act3d.settings.evaluation import CompareSettings

if TYPE_CHECKING:
    from act3d.evaluation.comparison import Row


@command
def compare(settings: CompareSettings) -> "list[Row]":
    """Compare runs: mean, spread and best over seeds.

    Runs that differ in their seed only share a row. NAME=RUN,RUN,... makes a row by hand; one that would mix protocols,
    datasets or votes is refused. Beside ours stand the published numbers where there are some; most of those pick the
    epoch on the test set (protocol legacy).

    Args:
        runs: run folders, or NAME=FOLDER,FOLDER; with * and ? for several.
        metrics: metrics to show, such as oa, macc, miou, knn; a run without one has no row for it.
        out: also write the table to this file (.json, .csv or .md); empty = print only.

    Returns:
        The rows.

    Raises:
        InputError: no such run, one that is not finished, or a row that would mix what cannot be compared.
    """
    from act3d.evaluation.comparison import gather_rows, read_run

    named = []
    for word in settings.runs:
        name, _, rest = word.rpartition("=") if not Path(word).exists() else ("", "", word)
        named.append((name, [read_run(path) for part in rest.split(",") for path in _folders(part)]))
    # Runs without a name are grouped together, whatever order they came in.
    unnamed = [run for name, group in named if not name for run in group]
    rows = gather_rows([*(pair for pair in named if pair[0]), *([("", unnamed)] if unnamed else [])], settings.metrics)
    print_rows(rows)
    if settings.out:
        write_rows(rows, Path(settings.out))
    return rows


def _folders(pattern: str) -> list[Path]:
    found = [Path(path) for path in sorted(glob.glob(pattern))]
    if not found:
        raise InputError(f"{pattern}: no such run")
    return found


def cells(rows: "list[Row]") -> list[dict[str, Any]]:
    """The rows as plain values."""
    return [
        {
            "row": row.name,
            "metric": row.metric,
            "mean": round(row.mean, 2),
            "spread": None if row.spread is None else round(row.spread, 2),
            "best": round(row.best, 2),
            "seeds": row.seeds,
            "dataset": row.dataset,
            "fingerprint": row.fingerprint,
            "protocol": row.protocol,
            "published": row.published,
        }
        for row in rows
    ]


def _lines(rows: "list[Row]") -> list[list[str]]:
    header = ["row", "metric", "mean", "±", "best", "seeds", "dataset", "data", "protocol", "published"]
    lines = [header]
    for c in cells(rows):
        beside = ", ".join(f"{method} {value}" for method, value in c["published"].items())
        spread = "" if c["spread"] is None else f"{c['spread']:.2f}"
        numbers = [f"{c['mean']:.2f}", spread, f"{c['best']:.2f}", str(len(c["seeds"]))]
        lines.append([c["row"], c["metric"], *numbers, c["dataset"], c["fingerprint"], c["protocol"], beside])
    return lines


def print_rows(rows: "list[Row]") -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    header, *lines = _lines(rows)
    table = Table(*header, box=None)
    for column in table.columns[2:6]:
        column.justify = "right"
    for line in lines:
        table.add_row(*line)
    Console(width=200 if not Console().is_terminal else None).print(table)


def write_rows(rows: "list[Row]", path: Path) -> None:
    """Write the table as JSON, CSV or Markdown, by the file's ending."""
    import csv
    import io

    from act3d.files import write_json, write_text

    lines = _lines(rows)
    if path.suffix == ".json":
        write_json(path, cells(rows))
    elif path.suffix == ".csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        write_text(path, text.getvalue())
    elif path.suffix == ".md":
        ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
        write_text(path, "".join(f"| {' | '.join(line)} |\n" for line in ruled))
    else:
        raise InputError(f"out: {path} must end in .json, .csv or .md")

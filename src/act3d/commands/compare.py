"""`act3d compare`: results of several runs in one table."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from act3d.errors import InputError
from act3d.files import write_json
from act3d.settings.command import command
from act3d.settings.evaluation import CompareSettings
from act3d.tables import check_table_path

if TYPE_CHECKING:
    from act3d.evaluation.comparison import Comparison


@command
def compare(settings: CompareSettings) -> "Comparison":
    """Compare runs: mean, spread and best over seeds.

    Returns:
        The rows.

    Raises:
        InputError: no such run, one that is not finished, or a row that would mix what cannot be compared.
    """
    from act3d.evaluation.comparison import gather_rows
    from act3d.evaluation.finished_runs import read_runs

    if settings.out:
        check_table_path(settings.out)
    named = []
    for word in settings.runs:
        name, _, rest = word.rpartition("=") if not Path(word).exists() else ("", "", word)
        named.append((name, [run for part in rest.split(",") for path in _folders(part) for run in read_runs(path)]))
    # Runs without a name are grouped together, whatever order they came in.
    unnamed = [run for name, group in named if not name for run in group]
    rows = gather_rows([*(pair for pair in named if pair[0]), *([("", unnamed)] if unnamed else [])], settings.metrics)
    rows.table().print()
    if settings.out.endswith(".json"):
        write_json(settings.out, rows.records())
    elif settings.out:
        rows.table().write(settings.out)
    return rows


def _folders(pattern: str) -> list[Path]:
    found = [Path(path) for path in sorted(glob.glob(pattern))]
    if not found:
        raise InputError(f"{pattern}: no such run")
    return found

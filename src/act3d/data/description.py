"""The description and the table of a packed dataset; without torch, so that processes that prepare data start fast."""

import csv
from pathlib import Path
from typing import Any

from act3d.errors import InputError
from act3d.files import read_json

FORMAT = "act3d-packed"
VERSION = 1
DESCRIPTION = "dataset.json"
TABLE = "clouds.csv"


def read_description(root: Path) -> dict[str, Any]:
    """The checked content of `root/dataset.json`."""
    path = root / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{root} is not a packed dataset: it has no {DESCRIPTION}")
    info = read_json(path)
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a packed dataset (format {FORMAT!r} expected)")
    if info.get("version") != VERSION:
        raise InputError(f"{path} has version {info.get('version')!r}; this act3d reads version {VERSION}")
    wanted = ("name", "classes", "parts", "points", "dtype", "shards", "splits", "fingerprint", "up", "normalization")
    missing = [key for key in wanted if key not in info]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}")
    return info


def read_table(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV table with a header line."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if any(len(row) != len(header) for row in rows):
        raise InputError(f"{path} is damaged: not every row has {len(header)} columns")
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return {name: list(column) for name, column in zip(header, columns, strict=True)}

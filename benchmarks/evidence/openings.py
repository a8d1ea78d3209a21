"""The log of when test families were looked at: one line a recipe, seed and task, only ever appended."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from act3d.files import write_text

LOG = Path(__file__).parents[2] / "docs" / "results" / "openings.jsonl"


def opened(log: Path, digest: str, seed: int, task: str) -> dict[str, Any] | None:
    """Return what the log says of this opening; None if there was none."""
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        entry: dict[str, Any] = json.loads(line)
        if (entry.get("digest"), entry.get("seed"), entry.get("task")) == (digest, seed, task):
            return entry
    return None


def open_once(log: Path, digest: str, seed: int, task: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the results of a task on test families: from the log, or by doing it and writing it there."""
    known = opened(log, digest, seed, task)
    if known is not None:
        return known
    results = work()
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    before = log.read_text(encoding="utf-8") if log.exists() else ""
    write_text(log, before + json.dumps({"time": time, **results}) + "\n")  # whole or not at all
    return results

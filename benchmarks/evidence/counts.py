"""How many parameters the trainings behind a row have trained: pretraining, and fine-tuning by collection.

The log of openings is only ever appended to, and its first lines do not say it; the run folders do. Counts depend on a
recipe alone, not on its seed, so they are kept by its digest.
"""

from pathlib import Path
from typing import Any

from act3d.files import read_json, write_json
from act3d.tables import count_text
from benchmarks.evidence.methods import METHODS, recipe_digest
from benchmarks.evidence.training import Place

TUNED = {"full": "100 % labels", "parts": "parts mIoU"}  # task -> heading of its numbers
Counts = dict[str, dict[str, int]]


def collect_counts(out: Path, kept: Path) -> Counts:
    """Return recipe digest -> "pretraining" or "full furniture" -> trained parameters, and keep them in a file.

    Args:
        out: Folder of the evidence; what its runs say is added to what the file says.
        kept: The file.
    """
    counts: Counts = read_json(kept) if kept.exists() else {}
    for method in METHODS.values():
        digest, place = recipe_digest(method), Place(out, out, "final", 0)
        folders = {f"{task} *": place.results(method.name, digest).parent / "seed*" / task / "*" for task in TUNED}
        if method.stage:
            folders["pretraining"] = place.run(method.stage).parent / "seed*"
        for name, pattern in folders.items():
            for file in sorted(out.glob(str((pattern / "results.json").relative_to(out)))):
                trained = _trained(file)
                if trained is not None:
                    counts.setdefault(digest, {})[name.replace("*", file.parent.name)] = trained
    if counts:
        write_json(kept, counts)
    return counts


def count_of(counts: Counts, row: str, what: str) -> str:
    """Return a count as tables show it, "" where it is not known; a row without pretraining has trained none."""
    method = METHODS[row]
    if what == "pretraining" and not method.stage:
        return "0"
    return count_text(counts.get(recipe_digest(method), {}).get(what)) or ""


def _trained(results: Path) -> int | None:
    """What a run says; None = a run of an earlier version, which did not."""
    about: dict[str, Any] = read_json(results)
    return (about.get("parameters") or {}).get("trained")

"""A table of segmentation runs with their spread over seeds: `python -m benchmarks.segmentation_table FOLDER`.

Runs are the folders in FOLDER that hold a results.json of `act3d segment`; those whose names differ in a number at the
end only are seeds of one another.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

from act3d.report import mean_spread

NAMES = ("instance_miou", "class_miou", "accuracy", "miou", "macc", "oa")


def main(folder: Path) -> None:
    """Print one line a setting."""
    groups: dict[str, list[dict[str, float]]] = defaultdict(list)
    for path in sorted(folder.glob("*/results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        if results["command"] == "segment":
            groups[re.sub(r"\d+$", "", path.parent.name)].append(results["metrics"])
    for name, runs in groups.items():
        shown = [f"{key} {mean_spread([run[key] for run in runs])}" for key in NAMES if key in runs[0]]
        print(f"{name:20} {len(runs)} seeds  " + "  ".join(shown))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Mutated files of every dataset layout: `python -m tests.faults.fuzz_datasets --inputs 20000`.

One file of a small valid dataset is changed at random; then it is opened and read as training would, and checked as
`act3d check-data` would. What is allowed is an answer, or one line that names a file; anything else is a fault.
"""

import argparse
import json
import random
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from act3d.data import fewshot, layouts, open_dataset
from act3d.data.rooms import open_rooms, write_description
from act3d.errors import Act3dError
from tests.data.helpers import without_checksums, write_packed
from tests.data.test_shapenet55 import write_layout
from tests.data.test_shapenetpart import write_own, write_release
from tests.faults.fuzz_readers import mutate
from tests.fixtures import released_layouts

NAMES = {"dragon": {"0": "head", "1": "wing", "2": "tail"}, "Lamp": {"3": "foot", "4": "shade"}}


def make_datasets(root: Path) -> dict[str, Path]:
    """One small dataset of every layout, without checksums: they would refuse every change at once."""
    without_checksums(write_packed(root / "packed", clouds=6, points=16))
    write_layout(root / "shapenet55")
    released_layouts.modelnet40_cache(root / "modelnet40", train=2, test=1, points=16)
    released_layouts.scanobjectnn(root / "scanobjectnn", per_class=1, points=16)
    write_release(root / "shapenetpart", points=12)
    write_own(root / "own parts", {"dragon": [0, 1, 2], "Lamp": [3, 4]})
    (root / "own parts" / "parts.json").write_text(json.dumps(NAMES))
    released_layouts.fewshot(root / "folds", folds=1, points=8, test=2)
    record = {"name": "a", "licence": "b", "normalization": "none", "fingerprint": "c"}
    (root / "folds" / "ModelNetFewshot" / "folds.json").write_text(json.dumps(record))
    _write_rooms(root / "rooms")
    return {path.name: path for path in sorted(root.iterdir())}


def _write_rooms(root: Path) -> None:
    root.mkdir()
    for number in range(2):
        points = np.random.default_rng(number).random((30, 6))
        np.save(root / f"hall_{number}.npy", np.column_stack([points, np.arange(30) % 2]))
    write_description(root, "halls", ["floor", "wall"], ["hall_0", "hall_1"])
    info = json.loads((root / "scenes.json").read_text())
    kept = {key: value for key, value in info.items() if key not in ("checksums", "digest")}
    (root / "scenes.json").write_text(json.dumps(kept))


def read(root: Path) -> None:
    """Open a dataset and read a few clouds."""
    if root.name == "rooms":
        rooms = open_rooms(root)
        for room in rooms.rooms:
            rooms.read(room)
    elif root.name == "folds":
        base = fewshot.find_base(root)
        if base is not None:
            fewshot.read_fold(base, 5, 10, 0)
    else:
        clouds = open_dataset(root, "train", 8)
        clouds.fetch(range(min(4, len(clouds))))


def fault_of(work: Callable[[Path], object], root: Path) -> str:
    """What `work` on a dataset did that it may not do; "" = nothing."""
    try:
        work(root)
    except Act3dError as error:
        return "" if "\n" not in str(error) else f"more than one line: {error}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    return ""


def fuzz(folder: Path, inputs: int, seed: int = 0) -> Counter[str]:
    """Faults of so many mutated datasets, by layout, file and what happened."""
    dice = random.Random(seed)
    datasets = make_datasets(folder)
    faults: Counter[str] = Counter()
    for number in range(inputs):
        root = datasets[dice.choice(list(datasets))]
        files = sorted(path for path in root.rglob("*") if path.is_file())
        # Descriptions are few and decide most: every second change is to one of them.
        texts = [path for path in files if path.suffix in (".json", ".csv") or path.parent == root]
        path = dice.choice(texts if texts and dice.random() < 0.5 else files)
        content = path.read_bytes()
        path.write_bytes(mutate(content, dice))
        try:
            for work in (read, layouts.check_folder) if number % 3 == 0 else (read,):
                if found := fault_of(work, root):
                    faults[f"{root.name}/{path.name}: {found}"] += 1
        finally:
            path.write_bytes(content)
            for extra in set(root.rglob("*")) - set(files):
                if extra.is_file():
                    extra.unlink()
    return faults


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        faults = fuzz(Path(folder), options.inputs, options.seed)
    print(f"{options.inputs} inputs, {sum(faults.values())} faults")
    for name, count in faults.most_common(40):
        print(f"{count:6} {name}")


if __name__ == "__main__":
    main()

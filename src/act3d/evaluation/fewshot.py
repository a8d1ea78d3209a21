"""Few-shot tasks of a dataset: where folds come from, and what a setting's accuracies amount to."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from act3d.data import fewshot as folds
from act3d.data.clouds import CloudDataset
from act3d.data.fewshot import Fold
from act3d.evaluation.protocol import open_stored
from act3d.lines import say
from act3d.settings.tasks import FewShotConfig, FoldsConfig
from act3d.settings.training import DataConfig

MakeFold = Callable[[int, int, int], Fold]


def fold_source(data: DataConfig, config: FewShotConfig, test_split: str) -> tuple[MakeFold, dict[str, Any]]:
    """Return what makes the fold of (way, shot, number), and name and fingerprint of the data.

    Raises:
        InputError: data that cannot be used.
    """
    base = folds.find_base(Path(data.root)) if Path(data.root).is_dir() else None
    if base is not None:
        mark = folds.fingerprint(base)
        drawn = (base / folds.RECORD).is_file()
        about = {"name": folds.origin(base)["name"], "fingerprint": mark, "folds": "drawn" if drawn else "released"}
        return (lambda way, shot, fold: folds.read_fold(base, way, shot, fold, mark)), about
    train, test = open_stored(data, data.split), open_stored(data, test_split)
    queries = possible_queries(train, test, config)
    about = {"name": train.name, "fingerprint": train.fingerprint}
    about |= {"folds": f"drawn by seed {config.draw_seed}, {queries} test shapes a class"}

    def make(way: int, shot: int, fold: int) -> Fold:
        return folds.make_fold(train, test, way, shot, fold, config.draw_seed, queries)

    return make, about


def possible_queries(train: CloudDataset, test: CloudDataset, config: FoldsConfig) -> int:
    """Return how many test shapes a class the tasks have: `config.queries`, or fewer, after saying so.

    Raises:
        InputError: too few classes with enough shapes.
    """
    found = folds.choose_queries(train.labels, test.labels, config.ways, config.shots, config.queries)
    if found < config.queries:
        say(
            f"note: tasks have {found} test shapes a class, not {config.queries}: {test.name} has no more for "
            f"{max(config.ways)} classes; --tasks.queries {found} says the same",
            error=True,
        )
    return found


def summary(folds: dict[int, float]) -> dict[str, Any]:
    """Mean and standard deviation (of a sample; None for one fold) over the folds of a setting, in percent."""
    values = list(folds.values())
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": spread, "folds": {str(fold): oa for fold, oa in folds.items()}}

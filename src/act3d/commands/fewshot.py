"""`act3d fewshot`: how well new classes are learned from a few shapes of each."""

import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.engine.run_folder import RunFolder, RunResult
from act3d.errors import ConfigError, InputError
from act3d.files import read_json, write_json
from act3d.settings.command import command
from act3d.settings.model import to_dict
from act3d.settings.tasks import (
    FewShotConfig,
    FewshotSettings,
    FoldsConfig,
)
from act3d.settings.training import DataConfig

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset
    from act3d.data.fewshot import Fold


MakeFold = Callable[[int, int, int], "Fold"]


@command
def fewshot(settings: FewshotSettings) -> RunResult:
    """Learn classes from a few shapes of each.

    Returns:
        metrics["settings"]: by setting, such as "5w10s": mean, std and the accuracy of every fold, in percent.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds folds of other settings.
        InputError: data that cannot be used, or too few classes.
        CheckpointError: the checkpoint is missing, damaged, or has no point encoder.
    """
    data, classifier, trainer, tasks = settings.data, settings.classifier, settings.trainer, settings.tasks
    protocol, test_split, seed = settings.protocol, settings.test_split, settings.seed
    folder = RunFolder(settings.out)
    folder.check(settings.resume)
    began = time.monotonic()
    from act3d.engine.machine import check_machine
    from act3d.evaluation.protocol import protocol_name

    check_machine(trainer)
    with folder.locked():
        make, about = fold_source(data, tasks, test_split)
        mark = _mark(settings, about)
        folder.begin(settings, "fewshot")
        scores: dict[str, dict[int, float]] = {}
        start: dict[str, Any] = {}
        facts: dict[str, Any] = {}
        for way, shot in ((w, s) for w in tasks.ways for s in tasks.shots):
            name = f"{way}w{shot}s"
            for fold in tasks.folds:
                file = folder.path / "folds" / f"{name}-{fold}.json"
                done = _read_fold(file, mark)
                if done is None:
                    done = _run_fold(settings, make(way, shot, fold), mark, folder, name, fold)
                    write_json(file, done)
                    print(f"{name} fold {fold}: {done['oa']:.1f} %  ({done['duration_s']:.0f} s)", file=sys.stderr)
                scores.setdefault(name, {})[fold] = done["oa"]
                start, facts = done["start"], {key: done[key] for key in ("batch_norm",) if key in done}
        metrics = {"settings": {name: summary(folds) for name, folds in scores.items()}}
        folder.write_results(
            command="fewshot",
            protocol=protocol,
            protocol_name=protocol_name(protocol, "last"),
            metrics=metrics,
            start=start,
            transfer=classifier.transfer,
            augment=data.augment,
            points=data.points,
            seed=seed,
            data=about,
            duration_s=round(time.monotonic() - began, 1),
            **facts,
        )
    # What is published is of full fine-tuning.
    print_summary(metrics["settings"], about["name"], protocol, beside=classifier.transfer == "full")
    return folder.result(metrics)


def fold_source(data: DataConfig, config: FewShotConfig, test_split: str) -> tuple[MakeFold, dict[str, Any]]:
    """Return what makes the fold of (way, shot, number), and name and fingerprint of the data.

    Raises:
        InputError: data that cannot be used.
    """
    from act3d.data import fewshot as folds
    from act3d.evaluation.protocol import open_stored

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

    def make(way: int, shot: int, fold: int) -> "Fold":
        return folds.make_fold(train, test, way, shot, fold, config.draw_seed, queries)

    return make, about


def possible_queries(train: "CloudDataset", test: "CloudDataset", config: FoldsConfig) -> int:
    """Return how many test shapes a class the tasks have: `config.queries`, or fewer, after saying so.

    Raises:
        InputError: too few classes with enough shapes.
    """
    from act3d.data.fewshot import choose_queries

    found = choose_queries(train.labels, test.labels, config.ways, config.shots, config.queries)
    if found < config.queries:
        print(
            f"note: tasks have {found} test shapes a class, not {config.queries}: {test.name} has no more for "
            f"{max(config.ways)} classes; --tasks.queries {found} says the same",
            file=sys.stderr,
        )
    return found


def _run_fold(
    settings: FewshotSettings, task: "Fold", mark: str, folder: RunFolder, name: str, fold: int
) -> dict[str, Any]:
    from act3d import checkpoints
    from act3d.engine.loop import train
    from act3d.recipes.classifier import build_classifier
    from act3d.recipes.fewshot import FoldTraining

    began = time.monotonic()
    seed = settings.seed * 1000 + fold
    classes = task.train.classes
    model, start = build_classifier(settings.checkpoint, settings.classifier, len(classes), seed)
    recipe = FoldTraining(settings, model, task, seed)
    metrics = train(recipe)
    if settings.tasks.keep_weights:
        meta = {"classes": classes, "points": settings.data.points, "normalization": task.train.normalization}
        checkpoints.save(model, folder.checkpoints / f"{name}-{fold}.safetensors", meta)
    return {
        "oa": metrics["oa"],
        "oa_last": metrics["oa_last"],
        "classes": classes,
        "train_shapes": len(task.train),
        "test_shapes": len(task.test),
        "start": start,
        **recipe.facts,
        "settings": mark,
        "duration_s": round(time.monotonic() - began, 1),
    }


def _mark(settings: FewshotSettings, about: dict[str, Any]) -> str:
    """A hash of all that decides a fold's result."""
    plain = to_dict(settings)
    kept = {key: plain[key] for key in ("seed", "checkpoint", "data", "classifier", "optim", "protocol", "test_split")}
    names = ("epochs", "min_steps", "max_steps", "accumulate", "precision", "fast_dev_run")
    kept["trainer"] = {name: plain["trainer"][name] for name in names}
    kept["about"] = about
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _read_fold(file: Path, mark: str) -> dict[str, Any] | None:
    if not file.exists():
        return None
    done = read_json(file)
    if not isinstance(done, dict) or not {"settings", "oa", "start"} <= done.keys():
        raise InputError(f"{file} is damaged; remove it and this fold will be run again")
    if done["settings"] != mark:
        raise ConfigError(f"out: {file} was run with other settings or data; choose another folder by --out")
    return done


def summary(folds: dict[int, float]) -> dict[str, Any]:
    """Mean and standard deviation (of a sample; None for one fold) over the folds of a setting, in percent."""
    values = list(folds.values())
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": spread, "folds": {str(fold): oa for fold, oa in folds.items()}}


def print_summary(settings: dict[str, dict[str, Any]], dataset: str, protocol: str, beside: bool = True) -> None:
    """Print the table of all settings, with published numbers beside it where there are some and they are wanted."""
    from act3d.evaluation.published import published
    from act3d.tables import Table

    rows = []
    for name, found in settings.items():
        others = published(dataset, setting=name) if beside else {}
        shown = ", ".join(f"{method} {value}" for method, value in others.items())
        rows.append([name, found["mean"], found["std"], len(found["folds"]), shown])
    Table(["setting", "mean", "±", "folds", "published"], rows, f"{dataset}, protocol {protocol}, % right").print()

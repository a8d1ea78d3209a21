"""`act3d fewshot`: how well new classes are learned from a few shapes of each."""

import time
from typing import TYPE_CHECKING, Any

from act3d.engine.run_folder import RunFolder, RunResult
from act3d.files import write_json
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.tasks import FewshotSettings
from act3d.supervision import supervision_note
from act3d.tables import trained_text

if TYPE_CHECKING:
    from act3d.evaluation.fewshot import MakeFold


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
    folder = RunFolder(settings.out)
    folder.check(settings.resume)
    began = time.monotonic()
    from act3d.engine.machine import check_machine
    from act3d.evaluation.fewshot import fold_source, summary
    from act3d.evaluation.protocol import protocol_name

    check_machine(settings.trainer)
    with folder.locked():
        make, about = fold_source(settings.data, settings.tasks, settings.test_split)
        folds = run_folds(settings, folder, make, about)
        metrics = {"settings": {name: summary(found) for name, found in folds["scores"].items()}}
        folder.write_results(
            command="fewshot",
            protocol=settings.protocol,
            protocol_name=protocol_name(settings.protocol, "last"),
            metrics=metrics,
            start=folds["start"],
            transfer=settings.classifier.transfer,
            augment=settings.data.augment,
            points=settings.data.points,
            seed=settings.seed,
            data=about,
            duration_s=round(time.monotonic() - began, 1),
            **folds["facts"],
        )
    # What is published is of full fine-tuning.
    beside = settings.classifier.transfer == "full"
    trained = trained_text(folds["facts"].get("parameters"))
    how = settings.protocol + supervision_note(folds) + (f", {trained}" if trained else "")
    print_summary(metrics["settings"], about["name"], how, beside)
    return folder.result(metrics)


def run_folds(settings: FewshotSettings, folder: RunFolder, make: "MakeFold", about: dict[str, Any]) -> dict[str, Any]:
    """Run the folds that are not kept yet; return the accuracies by setting and fold, where encoders started, facts."""
    from act3d.recipes.fewshot import read_kept_fold, run_fold, settings_digest

    digest = settings_digest(settings, about)
    scores: dict[str, dict[int, float]] = {}
    start: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    tasks = settings.tasks
    wanted = [(way, shot, fold) for way in tasks.ways for shot in tasks.shots for fold in tasks.folds]
    files = {(w, s, fold): folder.path / "folds" / f"{w}w{s}s-{fold}.json" for w, s, fold in wanted}
    kept = {task: read_kept_fold(file, digest) for task, file in files.items()}
    folder.begin(settings, "fewshot")  # not before: folds of other settings leave the folder as it was
    for way, shot, fold in wanted:
        name, done = f"{way}w{shot}s", kept[way, shot, fold]
        if done is None:
            done = run_fold(settings, make(way, shot, fold), digest, folder, name, fold)
            write_json(files[way, shot, fold], done)
            say(f"{name} fold {fold}: {done['oa']:.1f} %  ({done['duration_s']:.0f} s)", error=True)
        scores.setdefault(name, {})[fold] = done["oa"]
        start = {key: value for key, value in done["start"].items() if key != "words"}  # each fold has its own
        facts = {key: done[key] for key in ("batch_norm", "parameters", "head") if key in done}
    return {"scores": scores, "start": start, "facts": facts}


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

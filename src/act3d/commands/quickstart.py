"""`act3d quickstart`: both stages of ACT on the shapes that ship with act3d, and what they brought."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import ConfigError

if TYPE_CHECKING:
    from act3d.commands.probe import ProbeReport
    from act3d.engine.run_folder import RunResult

# The kinds of features that `probe` compares, as a reader sees them.
VARIANTS = {
    "taught": "Taught encoder",
    "untaught": "Untaught encoder",
    "fitted": "Untaught, its start fitted",
    "plain": "Plain PointNet features",
}


@dataclass
class SeedRun:
    """Everything one seed gave: both stages' results, and what the probe found."""

    seed: int
    stage1: "RunResult"
    stage2: "RunResult"
    probe: "ProbeReport"


@dataclass
class QuickstartResult:
    """What a quickstart gives back.

    report: the HTML page. metrics: per kind of features ("taught", "untaught", "fitted", "plain"), the linear SVM's
    percent right on shapes never seen, one value a seed.
    """

    out: Path
    report: Path
    metrics: dict[str, list[float]]


def quickstart(
    out: str = "runs/quickstart",
    seeds: int = 3,
    stage1: str = "small/autoencode",
    stage2: str = "small/pretrain",
    root: str = "sample",
    fresh: bool = False,
) -> QuickstartResult:
    """Train both stages of ACT on shipped shapes, taught by a pretrained text Transformer, and show what it brought.

    Stage I, stage II, then a linear SVM on frozen features of shapes never seen: of the taught encoder, of the same
    encoder untaught, and of a plain baseline. Ends with a table and `report.html`. Called again, it goes on where it
    was and keeps what is finished.

    Args:
        out: folder for all runs and the report.
        seeds: how often to repeat everything; the spread over seeds tells what a difference means.
        stage1: preset or YAML file of stage I.
        stage2: preset or YAML file of stage II.
        root: dataset with labels and the splits train and test; "sample" = the shipped one.
        fresh: begin anew; what lies in `out` is kept under another name.

    Returns:
        Numbers and the report's place.

    Raises:
        ConfigError: `out` holds runs with other settings.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
    """
    if seeds < 1:
        raise ConfigError(f"seeds: {seeds} is out of bounds; it must be >= 1")
    folder = Path(out)
    if fresh:
        set_aside(folder)
    began = time.monotonic()
    from act3d.data import open_dataset

    # Opened first: a wrong root should show before minutes of training, not after.
    for split in ("train", "test"):
        open_dataset(root, split)
    runs = [run_seed(folder, seed, stage1, stage2, root) for seed in range(seeds)]
    say("Writing the report")
    return finish(folder, runs, root, time.monotonic() - began)


def run_seed(folder: Path, seed: int, stage1: str, stage2: str, root: str) -> SeedRun:
    """Run or take up both stages of one seed, then probe the student's last weights."""
    from act3d.commands.autoencode import autoencode
    from act3d.commands.pretrain import pretrain
    from act3d.commands.probe import ProbeData, measure

    say(f"Seed {seed}, stage I: an autoencoder of shapes around the frozen Transformer")
    first = run_stage(autoencode, stage1, folder / f"stage1-seed{seed}", seed, {"data.root": root})
    say(f"Seed {seed}, stage II: a 3D Transformer learns its features")
    teacher = {"data.root": root, "teacher.checkpoint": str(first.out)}
    second = run_stage(pretrain, stage2, folder / f"stage2-seed{seed}", seed, teacher)
    if second.last is None:
        raise ConfigError(f"out: {second.out} has no finished weights; add --fresh to begin anew")
    say(f"Seed {seed}, probes on frozen features")
    return SeedRun(seed, first, second, measure(str(second.last), ProbeData(root=root), seed))


def run_stage(command: Any, preset: str, out: Path, seed: int, options: Mapping[str, str]) -> "RunResult":
    """Run a training command by a preset, go on with it, or return its result if it is finished.

    Raises:
        ConfigError: a run with other settings lies there.
    """
    from act3d.engine.run_folder import RunFolder
    from act3d.settings.training import to_dict

    settings = preset_settings(command, preset, options)
    folder = RunFolder(out)
    if folder.config.exists():
        import yaml

        # What the files were made with must be what is asked for now, or the table would mix recipes.
        wanted = to_dict(settings)
        found = yaml.safe_load(folder.config.read_text(encoding="utf-8")) or {}
        changed = [name for name in wanted if found.get(name) != wanted[name]]
        if changed:
            raise ConfigError(
                f"out: {out} was made with other settings ({', '.join(changed)}); add --fresh to begin anew"
            )
    if folder.finished:
        say(f"  {out} is finished already")
        return folder.read_results()
    result: RunResult = command(**settings, out=str(out), seed=seed, resume=folder.holds_run)
    return result


def preset_settings(command: Any, preset: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return a training command's sections, by a preset or a YAML file and then by options with dotted names.

    Raises:
        ConfigError: no such preset, or a setting in it that the command does not have.
    """
    from act3d.presets import find_config, flatten, read_config

    path = find_config(preset, command.__name__)
    defaults = {name: item.default for name, item in signature(command).parameters.items()}
    sections: dict[str, Any] = {name: value for name, value in defaults.items() if is_dataclass(value)}
    for key, value in {**flatten(read_config(path)), **options}.items():
        section, _, name = key.partition(".")
        if section not in sections or not hasattr(sections[section], name):
            raise ConfigError(f"{path}: there is no setting {key!r} in act3d {command.__name__}")
        sections[section] = replace(sections[section], **{name: value})
    return sections


def finish(folder: Path, runs: list[SeedRun], root: str, seconds: float) -> QuickstartResult:
    """Write results.json and the report, print the table and what to do next."""
    from act3d.commands.quickstart_page import build_report, own_commands
    from act3d.report.quickstart import write_quickstart

    values = {kind: [run.probe.metrics[kind]["linear"] for run in runs] for kind in VARIANTS}
    write_results(folder, runs, values, seconds)
    page = write_quickstart(folder / "report.html", build_report(runs, root))
    print_table(runs)
    print(f"\nThe report, with pictures: {page}\n\nThe same with your own shapes:\n")
    print(own_commands())
    return QuickstartResult(folder, page, values)


def write_results(folder: Path, runs: list[SeedRun], values: dict[str, list[float]], seconds: float) -> None:
    """Write the folder's results.json: means over seeds under "metrics", every seed's numbers beside them."""
    from act3d.engine.run_folder import versions
    from act3d.files import write_json

    metrics = {kind: sum(numbers) / len(numbers) for kind, numbers in values.items()}
    results = {
        "command": "quickstart",
        "protocol": "standard",
        "metrics": {"oa": metrics["taught"], **metrics},
        "per_seed": values,
        "probes": {str(run.seed): run.probe.metrics for run in runs},
        "seed": [run.seed for run in runs],
        "data": runs[0].probe.data,
        "versions": versions(),
        "duration_s": round(seconds, 1),
    }
    write_json(folder / "results.json", results)


def print_table(runs: list[SeedRun]) -> None:
    """Print percent right by seed, and whether teaching helped."""
    from rich.console import Console
    from rich.table import Table

    from act3d.commands.quickstart_page import variant
    from act3d.report import mean_spread
    from act3d.report.quickstart import verdicts

    taught, *others = (variant(kind, runs) for kind in VARIANTS)
    table = Table("linear SVM, % right", *[f"seed {run.seed}" for run in runs], "mean ± sd", "k-NN", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in (taught, *others):
        numbers = [f"{value:.1f}" for value in row.linear]
        style = "bold" if row is taught else None
        table.add_row(row.name, *numbers, mean_spread(row.linear), mean_spread(row.knn), style=style)
    console = Console()
    console.print()
    console.print(table)
    print("\n" + "\n".join(verdicts(taught, others[:2])))


def set_aside(folder: Path) -> None:
    """Rename an existing folder to the first free name beside it."""
    if not folder.exists():
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    folder.rename(aside)
    say(f"{folder} is kept as {aside}")


def say(text: str) -> None:
    """Tell the user what happens next, on the error stream, as progress bars do."""
    import sys

    print(text, file=sys.stderr, flush=True)

"""`act3d quickstart`: both stages of ACT on the shapes that ship with act3d, and a report of the results."""

import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import ConfigError

if TYPE_CHECKING:
    from act3d.engine.run_folder import RunResult
    from act3d.report.quickstart import QuickstartReport
    from act3d.use.run_report import SeedRun


@dataclass
class QuickstartResult:
    """Results of a quickstart.

    out: the folder of all runs. report: the HTML page. metrics: kind of features ("pretrained", "random",
    "data_dependent", "plain") -> accuracy of the linear SVM on test shapes in percent, one value a seed.
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
    """Train both stages of ACT on shipped shapes, with a pretrained text Transformer as teacher, and test the result.

    Trains stage I and stage II, then fits a linear SVM to frozen features and tests it on test shapes: with the
    pretrained encoder, with the same encoder at random and at data-dependent initialization, and with a plain baseline.
    Ends with a table and `report.html`. A second call continues where the first one stopped and keeps finished runs.

    Args:
        out: folder for all runs and the report.
        seeds: number of repetitions; their spread shows how large a difference must be to mean something.
        stage1: preset or YAML file of stage I.
        stage2: preset or YAML file of stage II.
        root: dataset with labels and the splits train and test; "sample" = the shipped one.
        fresh: start again; the content of `out` is kept under another name.

    Returns:
        Numbers and the place of the report.

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
    given = {"out": out, "seeds": seeds, "stage1": stage1, "stage2": stage2, "root": root}
    return finish(folder, runs, root, repeat_command(given), time.monotonic() - began)


def run_seed(folder: Path, seed: int, stage1: str, stage2: str, root: str) -> "SeedRun":
    """Train both stages of one seed or continue them, then probe the last weights of the student."""
    from act3d.commands.autoencode import autoencode
    from act3d.commands.pretrain import pretrain
    from act3d.commands.probe import ProbeData, measure
    from act3d.use.run_report import SeedRun

    say(f"Seed {seed}, stage I: an autoencoder of shapes around the frozen Transformer")
    first = run_stage(autoencode, stage1, folder / f"stage1-seed{seed}", seed, {"data.root": root})
    say(f"Seed {seed}, stage II: a 3D Transformer learns the autoencoder's features")
    teacher = {"data.root": root, "teacher.checkpoint": str(first.out)}
    second = run_stage(pretrain, stage2, folder / f"stage2-seed{seed}", seed, teacher)
    if second.last is None:
        raise ConfigError(f"out: {second.out} has no finished weights; add --fresh to start again")
    say(f"Seed {seed}, probes on frozen features")
    probe = measure(str(second.last), ProbeData(root=root), seed)
    names = {"taught": "pretrained", "untaught": "random", "fitted": "data_dependent", "plain": "plain"}
    metrics = {names.get(kind, kind): numbers for kind, numbers in probe.metrics.items()}
    features = {names.get(kind, kind): pair for kind, pair in probe.features.items()}
    return SeedRun(seed, first.out, second.out, metrics, features["pretrained"], probe.data)


def run_stage(command: Any, preset: str, out: Path, seed: int, options: Mapping[str, str]) -> "RunResult":
    """Run a training command by a preset, continue it, or return its result if it is finished.

    Raises:
        ConfigError: a run with other settings lies there.
    """
    from act3d.engine.run_folder import RunFolder
    from act3d.settings.training import to_dict

    settings = preset_settings(command, preset, options)
    folder = RunFolder(out)
    if folder.config.exists():
        import yaml

        # Finished runs must have the settings that are asked for now, or the table would mix recipes.
        wanted = to_dict(settings)
        found = yaml.safe_load(folder.config.read_text(encoding="utf-8")) or {}
        changed = [name for name in wanted if found.get(name) != wanted[name]]
        if changed:
            raise ConfigError(
                f"out: {out} was made with other settings ({', '.join(changed)}); add --fresh to start again"
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


def finish(folder: Path, runs: "list[SeedRun]", root: str, repeat: str, seconds: float) -> QuickstartResult:
    """Write results.json and the report, print the table and what to do next."""
    from act3d.data import SAMPLE, open_dataset, sample_root
    from act3d.report.quickstart import write_quickstart
    from act3d.use.run_report import VARIANTS, quickstart_report, read_settings

    points = read_settings(runs[0].stage1)["data"]["points"]
    train, test = (open_dataset(root, split, points) for split in ("train", "test"))
    authors = f"Names and authors of all models: {sample_root() / 'ATTRIBUTION.md'}." if root == SAMPLE else ""
    report = quickstart_report(runs, train, test, own_commands(), repeat, authors)
    values = {kind: variant.linear for kind, variant in zip(VARIANTS, report.variants, strict=True)}
    write_results(folder, runs, values, seconds)
    page = write_quickstart(folder / "report.html", report)
    print_table(report)
    print(f"\nThe report, with pictures: {page}\n\nThe same with your own shapes:\n")
    print(own_commands())
    return QuickstartResult(folder, page, values)


def write_results(folder: Path, runs: "list[SeedRun]", values: dict[str, list[float]], seconds: float) -> None:
    """Write the folder's results.json: means over seeds under "metrics", every seed's numbers beside them."""
    from act3d.engine.run_folder import versions
    from act3d.files import write_json

    metrics = {kind: sum(numbers) / len(numbers) for kind, numbers in values.items()}
    results = {
        "command": "quickstart",
        "protocol": "standard",
        "metrics": {"oa": metrics["pretrained"], **metrics},
        "per_seed": values,
        "probes": {str(run.seed): run.metrics for run in runs},
        "seed": [run.seed for run in runs],
        "data": runs[0].data,
        "versions": versions(),
        "duration_s": round(seconds, 1),
    }
    write_json(folder / "results.json", results)


def print_table(report: "QuickstartReport") -> None:
    """Print the accuracy by seed, and what it says about the pretrained encoder."""
    from rich.console import Console
    from rich.table import Table

    from act3d.report import mean_spread
    from act3d.report.quickstart import codes_warning, verdicts

    pretrained, *others = report.variants
    table = Table("linear SVM, % right", *[f"seed {s}" for s in report.seeds], "mean ± sd", "k-NN", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in report.variants:
        numbers = [f"{value:.1f}" for value in row.linear]
        style = "bold" if row is pretrained else None
        table.add_row(row.name, *numbers, mean_spread(row.linear), mean_spread(row.knn), style=style)
    console = Console()
    console.print()
    console.print(table)
    print()
    for sentence in [codes_warning(report.codes), *verdicts(pretrained, others[:2])]:
        if sentence:
            print(sentence)


def repeat_command(given: Mapping[str, Any]) -> str:
    """Return the command line that makes the same report again, with the options that are not the defaults."""
    defaults = {name: item.default for name, item in signature(quickstart).parameters.items()}
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value != defaults[name]]
    return " ".join(["act3d quickstart", *words, "--fresh"])


def own_commands() -> str:
    """Return the commands that do the same with a folder of one's own."""
    lines = []
    if sys.prefix != sys.base_prefix:
        lines.append(f"source {os.path.relpath(sys.prefix)}/bin/activate          # once in every terminal")
    return "\n".join(
        [
            *lines,
            "act3d prepare path/to/your/shapes --out data/mine   # one subfolder of meshes or clouds a class",
            "act3d autoencode --config small/autoencode --data.root data/mine --out runs/mine/stage1",
            "act3d pretrain --config small/pretrain --data.root data/mine \\",
            "  --teacher.checkpoint runs/mine/stage1 --out runs/mine/stage2",
            "act3d probe runs/mine/stage2 --data.root data/mine",
            "act3d index data/mine --checkpoint runs/mine/stage2 --out runs/mine/index",
            "act3d search path/to/a/shape.obj --index runs/mine/index --page found.html   # the nearest shapes",
        ]
    )


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
    """Print what happens next on the error stream, as progress bars do."""
    print(text, file=sys.stderr, flush=True)

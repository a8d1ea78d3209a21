"""`act3d quickstart`: the shipped encoder on furniture, then ACT from nothing on electronic parts; two pages."""

import shlex
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import ConfigError
from act3d.lines import say, typed
from act3d.samples import SAMPLES, sample_root
from act3d.settings.command import command
from act3d.settings.data import ProbeData
from act3d.settings.layers import resolve
from act3d.settings.preparing import QuickstartSettings
from act3d.settings.pretraining import AutoencodeSettings, PretrainSettings
from act3d.tables import Cell, Table, Tabular

if TYPE_CHECKING:
    from act3d.report.quickstart import QuickstartReport
    from act3d.use.run_report import SeedRun


@dataclass(repr=False)
class QuickstartResult(Tabular):
    """Results of a quickstart.

    Attributes:
        out: the folder of all runs.
        report: the HTML page.
        metrics: kind of features ("pretrained", "random", "data_dependent", "plain") -> accuracy of the linear SVM on
            test shapes in percent, one value a seed.
    """

    out: Path
    report: Path
    metrics: dict[str, list[float]]

    def __repr__(self) -> str:
        means = ", ".join(f"{kind} {sum(values) / len(values):.1f} %" for kind, values in self.metrics.items())
        return f"<QuickstartResult in {self.out}, linear SVM: {means}>"

    def table(self) -> Table:
        """Return one row per kind of features, one column per seed."""
        seeds = len(next(iter(self.metrics.values())))
        rows: list[list[Cell]] = [[kind, *values] for kind, values in self.metrics.items()]
        return Table(["features", *[f"seed {seed}" for seed in range(seeds)]], rows, strong=(0,))


@command
def quickstart(settings: QuickstartSettings) -> QuickstartResult:
    """Train both stages of ACT on shipped shapes, with a pretrained text Transformer as teacher, and test the result.

    Returns:
        Numbers and the place of the report.

    Raises:
        ConfigError: `out` holds runs with other settings.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
    """
    root = settings.root
    folder = Path(settings.out)
    if settings.fresh:
        set_aside(folder)
    began = time.monotonic()
    from act3d.data import open_dataset

    # First: what is wrong in root or presets is reported before minutes of training, not after.
    for split in ("train", "test"):
        open_dataset(root, split)
    stages_of(folder, 0, settings)
    if settings.furniture:
        from act3d.commands.first_look import look_at_furniture

        look_at_furniture(folder, repeat_command(settings))
    runs = [run_seed(folder, seed, settings) for seed in range(settings.seeds)]
    say("Writing the report", error=True)
    return finish(folder, runs, root, f"{repeat_command(settings)} --fresh", time.monotonic() - began)


def run_seed(folder: Path, seed: int, settings: QuickstartSettings) -> "SeedRun":
    """Train both stages of one seed or continue them, then probe the last weights of the student."""
    from act3d.commands.autoencode import autoencode
    from act3d.commands.pretrain import pretrain
    from act3d.engine.stage import run_stage

    whole, (stage1, stage2) = repeat_command(settings), stages_of(folder, seed, settings)
    say(f"Seed {seed}, stage I: an autoencoder of shapes around the frozen Transformer", error=True)
    run_stage(autoencode, stage1, whole)
    say(f"Seed {seed}, stage II: a 3D Transformer learns the autoencoder's features", error=True)
    second = run_stage(pretrain, stage2, whole)
    if second.last is None:
        raise ConfigError(f"out: {second.out} has no finished weights; add --fresh to start again")
    return probed_seed(folder, seed, settings.root)


def stages_of(folder: Path, seed: int, settings: QuickstartSettings) -> tuple[AutoencodeSettings, PretrainSettings]:
    """Return the settings of both stages of a seed."""
    first = str(folder / f"stage1-seed{seed}")
    given: dict[str, Any] = {"out": first, "seed": seed, "data": {"root": settings.root}}
    stage1 = resolve(AutoencodeSettings, given, [settings.stage1])
    given |= {"out": str(folder / f"stage2-seed{seed}"), "teacher": {"checkpoint": first}}
    return stage1, resolve(PretrainSettings, given, [settings.stage2])


def probed_seed(folder: Path, seed: int, root: str) -> "SeedRun":
    """Probe the last weights of a seed's student, which is trained."""
    from act3d.use.probing import probe_checkpoint
    from act3d.use.run_report import SeedRun

    say(f"Seed {seed}, probes on frozen features", error=True)
    first, second = folder / f"stage1-seed{seed}", folder / f"stage2-seed{seed}"
    probe = probe_checkpoint(str(second / "checkpoints" / "last.safetensors"), ProbeData(root=root), seed)
    return SeedRun(seed, first, second, probe.metrics, probe.features, probe.data)


def finish(
    folder: Path, runs: "list[SeedRun]", root: str, repeat: str, seconds: float, page: str = ""
) -> QuickstartResult:
    """Write results.json and the report (`page`, or report.html), print the table and what to do next."""
    from act3d.data import open_dataset
    from act3d.report.quickstart import write_quickstart
    from act3d.use.run_report import VARIANTS, quickstart_report, read_settings

    points = read_settings(runs[0].stage1)["data"]["points"]
    train, test = (open_dataset(root, split, points) for split in ("train", "test"))
    authors = f"Names and authors of all models: {sample_root(root) / 'ATTRIBUTION.md'}." if root in SAMPLES else ""
    report = quickstart_report(runs, train, test, own_commands(), repeat, authors)
    values = {kind: variant.linear for kind, variant in zip(VARIANTS, report.variants, strict=True)}
    write_results(folder, runs, values, seconds)
    written = write_quickstart(page or folder / "report.html", report)
    print_table(report)
    own = "With your own shapes (subfolders are classes, if there are any):"
    for line in ("", f"The report, with pictures: {written}", "", own, ""):
        say(line)
    for line in own_commands().splitlines():
        say(typed(line))
    return QuickstartResult(folder, written, values)


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
    from act3d.report.quickstart import accuracy_header, accuracy_rows, codes_warning, verdicts

    pretrained, *others = report.variants
    say()
    Table(accuracy_header(report), accuracy_rows(report), strong=(0,)).print()
    say()
    for sentence in [codes_warning(report.codes), *verdicts(pretrained, others[:2])]:
        if sentence:
            say(sentence)


def repeat_command(settings: QuickstartSettings) -> str:
    """Return the command line that goes on with these runs, with the options that are not the defaults."""
    changed = settings.model_dump(exclude_defaults=True, exclude={"fresh"})
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in changed.items()]
    return " ".join(["act3d quickstart", *words])


def own_commands() -> str:
    """Return the commands for a folder of one's own, with what has to be installed before."""
    from act3d.installing import how_to_install

    lines = [
        ("act3d app path/to/your/shapes", "a page to search them, by the encoder that comes with act3d"),
        ("act3d teach path/to/your/shapes --out runs/mine", "an encoder of your own: train, test, index, page"),
    ]
    if not all(find_spec(package) for package in ("lancedb", "fastapi", "uvicorn")):
        lines.insert(0, (how_to_install("app"), "what both need"))
    return "\n".join(f"{line:50}   # {why}" for line, why in lines)


def set_aside(folder: Path) -> None:
    """Rename an existing folder to the first free name beside it."""
    if not folder.exists():
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    folder.rename(aside)
    say(f"{folder} is kept as {aside}", error=True)

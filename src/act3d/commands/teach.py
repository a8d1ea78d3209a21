"""`act3d teach`: from a folder of shapes to an encoder, a search index and a page, in one command."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import InputError
from act3d.files import plain_path, read_json, write_json
from act3d.lines import say, typed
from act3d.settings.command import command
from act3d.settings.layers import resolve
from act3d.settings.preparing import PrepareSettings, TeachSettings
from act3d.settings.pretraining import AutoencodeSettings, PretrainSettings

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset

PROBED = 20_000  # labelled training shapes up to which a linear SVM takes minutes, not hours
# Seconds a shape or step on two CPU cores (AMD EPYC, November 2026), by the quickstart and by 6227 KiCad models; EMBED
# at the 128 patches of act3d-small (Intel Xeon, November 2026).
START = 45  # to load libraries, and draw the page: what 60 furniture models took beside the steps
READ, EMBED, STEP1, STEP2, PROBE = 0.012, 0.012, 0.125, 0.13, 0.04
WITH_NAMES = 2  # times as long as a step of stage II without names


@dataclass
class TeachResult:
    """Where everything lies.

    Attributes:
        out: the folder of all steps.
        data: the dataset; the source itself if it was prepared already.
        encoder: run folder of the pretrained encoder.
        index: folder to search in.
        report: the page.
        probe: the probe's metrics; empty where there was nothing to probe.
    """

    out: Path
    data: Path
    encoder: Path
    index: Path
    report: Path
    probe: dict[str, Any] = field(default_factory=dict)


@command
def teach(settings: TeachSettings) -> TeachResult:
    """Prepare a folder of shapes, pretrain an encoder on them, probe it, index the shapes, and write a page.

    Returns:
        Where everything lies, and the probe's numbers.

    Raises:
        ConfigError: `out` holds steps with other settings.
        InputError: nothing to learn from, or `out` belongs to another folder.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
    """
    from act3d.commands.quickstart import set_aside
    from act3d.data.layouts import holds_dataset
    from act3d.use.index_table import require_lancedb

    source, out = Path(settings.source), Path(settings.out)
    require_lancedb()  # the last step needs it, hours later
    if settings.fresh:
        set_aside(out)
    prepared = source.is_dir() and holds_dataset(source)
    wanted = _prepare_settings(settings)
    count, recorded = _count(source, prepared, wanted)
    _check_source(out, source)
    say(f"{source}: {count} shapes, {estimate(count, settings)}", error=True)
    write_json(out / "teach.json", {"source": str(plain_path(source))})
    data = source if prepared else _prepared(out / "data", wanted, recorded)
    encoder = train_stages(settings, data, out)
    probe = _probed(encoder, data, out / "probe", settings.seed)
    _indexed(data, encoder, out / "index")
    result = TeachResult(out, data, encoder, out / "index", out / "report.html", probe)
    _write_page(result, source, count)
    _print_places(result)
    return result


def _prepare_settings(settings: TeachSettings) -> PrepareSettings:
    return PrepareSettings(
        source=settings.source, out=str(Path(settings.out) / "data"), up=settings.up, seed=settings.seed
    )


def _count(source: Path, prepared: bool, wanted: PrepareSettings) -> tuple[int, list[list[object]]]:
    """Return how many shapes a folder or dataset holds, and of a folder what tells that its files have changed.

    Raises:
        InputError: no folder of shapes.
    """
    from act3d.commands.prepare import list_shapes
    from act3d.data import open_dataset

    if prepared:
        return len(open_dataset(source)), []
    items = list_shapes(source, wanted).items
    return len(items), [item.state() for item in items]


def _check_source(out: Path, source: Path) -> None:
    """Check that the steps in a folder, if there are any, are of the same source.

    Raises:
        InputError: they are of another one.
    """
    about = out / "teach.json"
    if about.exists() and (found := read_json(about).get("source")) != str(plain_path(source)):
        raise InputError(f"out: {out} was made from {found}; choose another folder by --out, or add --fresh")


def planned(settings: TeachSettings, data: str = "sample") -> tuple[AutoencodeSettings, PretrainSettings]:
    """Return the settings of both stages, from the presets; the length of training is fitted to the data later."""
    given: dict[str, Any] = {"seed": settings.seed, "data": {"root": data}}
    first = resolve(AutoencodeSettings, given | {"out": f"{settings.out}/stage1"}, [settings.stage1])
    teacher = {"checkpoint": f"{settings.out}/stage1"}
    return first, resolve(
        PretrainSettings, given | {"out": f"{settings.out}/stage2", "teacher": teacher}, settings.stage2.split(",")
    )


def estimate(count: int, settings: TeachSettings) -> str:
    """Return how long all steps take for so many shapes, in words: steps of both stages, and minutes on two cores."""
    from act3d.engine.schedules import sized

    training = max(1, round(0.72 * count))  # a fifth is for the probe, a tenth of the rest validates
    steps = []
    stages = planned(settings)
    for stage in stages:
        per_epoch = max(1, training // (stage.data.batch_size * stage.trainer.accumulate))
        plan = sized(stage.trainer, stage.optim, per_epoch)[0]
        steps.append(min(plan.epochs * per_epoch, plan.max_steps or plan.epochs * per_epoch))
    seconds = (
        START
        + count * (READ + EMBED)
        + steps[0] * STEP1
        + steps[1] * STEP2 * (WITH_NAMES if stages[1].align.weight else 1)
        + (count * PROBE if 0.8 * count <= PROBED else 0)
    )
    minutes = max(1, round(seconds / 60))
    long = f"{minutes} minute{'s' if minutes > 1 else ''}" if minutes < 120 else f"{minutes / 60:.0f} hours"
    return (
        f"about {steps[0]} steps of stage I and {steps[1]} of stage II; with the small presets about {long} in all on "
        "two CPU cores. Stop it at any time: the next call goes on"
    )


def _prepared(out: Path, wanted: PrepareSettings, recorded: list[list[object]]) -> Path:
    """Prepare the shapes, unless that is done. A dataset that is there is kept: the stages were trained on it."""
    from act3d.commands.prepare import prepare
    from act3d.data.layouts import holds_dataset

    files = out.with_name("files.json")
    if out.is_dir() and holds_dataset(out):
        if not files.exists():
            raise InputError(f"out: {out} is a dataset that act3d teach did not make; choose another folder by --out")
        if read_json(files) != recorded:
            say(f"  the files of {wanted.source} have changed since they were prepared; --fresh takes them", error=True)
        say(f"  {out} is prepared already", error=True)
        return out
    write_json(files, recorded)
    prepare(wanted)
    return out


def train_stages(settings: TeachSettings, data: Path, out: Path) -> Path:
    """Train both stages, or go on with them, and return the run folder of the encoder.

    Raises:
        InputError: the data has no training shapes.
    """
    from act3d.commands.autoencode import autoencode
    from act3d.commands.pretrain import pretrain
    from act3d.data import open_dataset
    from act3d.engine.stage import run_stage

    train = open_dataset(data, "train")
    first, second = planned(settings, str(data))
    changes = _changes(train, settings.seed, first.data.val_fraction)
    say("Stage I: an autoencoder of shapes around the frozen Transformer", error=True)
    whole = again(settings)
    run_stage(autoencode, first.model_copy(update={"data": first.data.model_copy(update=changes)}), whole)
    say("Stage II: a 3D Transformer learns the autoencoder's features", error=True)
    # Validation is a linear SVM too: of more shapes it would take longer than the training.
    trainer = second.trainer.model_copy(update={"validate_every": 0}) if len(train) > PROBED else second.trainer
    section = second.data.model_copy(update=changes)
    align = second.align if _says_names(train, second) else second.align.model_copy(update={"weight": 0.0})
    run_stage(pretrain, second.model_copy(update={"data": section, "trainer": trainer, "align": align}), whole)
    return out / "stage2"


def _says_names(train: "CloudDataset", second: PretrainSettings) -> bool:
    """Tell whether the shapes have names to learn from, where names are to be learnt; say so if they have none."""
    from act3d.recipes.names import read_texts

    if second.align.weight:
        try:
            read_texts(train, second.text)
        except InputError:  # it would end `act3d pretrain`, which was asked for names
            say(
                "  the names of these files and folders say nothing that tells shapes apart: none is learnt", error=True
            )
            return False
    return True


def again(settings: TeachSettings) -> str:
    """Return the command line that goes on with all steps."""
    changed = settings.model_dump(exclude_defaults=True, exclude={"fresh", "source"})
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in changed.items()]
    return " ".join(["act3d teach", shlex.quote(settings.source), *words])


def _changes(train: "CloudDataset", seed: int, fraction: float) -> dict[str, Any]:
    """Return the settings of the data that its size decides: where no shape can be spared, none is held out."""
    from act3d.data.views import holdout_rows

    held = len(holdout_rows(train.labels, fraction, seed))
    return {} if held else {"val_split": "none"}


def _probed(encoder: Path, data: Path, out: Path, seed: int) -> dict[str, Any]:
    """Probe the encoder where there are classes, unless that is done; return the metrics, or say why there are none."""
    from act3d.commands.probe import probe
    from act3d.data import open_dataset
    from act3d.engine.run_folder import RunFolder

    if RunFolder(out).finished:
        say(f"  {out} is finished already", error=True)
        return RunFolder(out).read_results().metrics
    weights = str(encoder / "checkpoints" / "last.safetensors")
    train = open_dataset(data, "train")
    labelled = int((train.labels >= 0).sum())
    if len(set(train.labels[train.labels >= 0].tolist())) < 2:
        say("No probe: it needs training shapes of two classes, one subfolder each", error=True)
        return {}
    if labelled > PROBED:
        say(f"No probe of {labelled} training shapes, it takes hours: act3d probe {encoder}", error=True)
        return {}
    try:
        return probe(weights, data={"root": str(data)}, out=str(out), seed=seed).results()
    except InputError as error:  # a class without test shapes, or too few for cross-validation
        say(f"No probe: {error}", error=True)
        return {}


def _indexed(data: Path, encoder: Path, out: Path) -> None:
    """Make the dataset searchable; what is in the index already is not embedded again."""
    from act3d.commands.index import index

    index(str(data), checkpoint=str(encoder / "checkpoints" / "last.safetensors"), out=str(out))


def _write_page(result: TeachResult, source: Path, count: int) -> None:
    from dataclasses import replace

    from act3d.evaluation.finished_runs import read_runs
    from act3d.report.run_page import write_run_page
    from act3d.supervision import supervision_note
    from act3d.use.run_page import run_page

    say("Writing the page", error=True)
    folders = [result.encoder, result.out / "stage1", *([result.out / "probe"] if result.probe else [])]
    runs = [run for folder in folders for run in read_runs(folder)]
    facts = runs[0].results  # of the encoder
    lead = (
        f"{count} shapes. First an autoencoder around a frozen Transformer learned to rebuild them (stage I); then a "
        "3D Transformer, the encoder, learned to predict the autoencoder's features of hidden patches (stage II)."
    )
    if "texts" in facts:
        lead += " Beside that it learned the names of files and folders."
    if start := (facts.get("start") or {}).get("checkpoint"):
        lead += f" The encoder started from {start}{'' if 'texts' in facts else supervision_note(facts)}."
    if not supervision_note(facts):
        lead += " No names or classes were used for that."
    if result.probe:
        lead += f" A linear SVM on its frozen features is right about {result.probe['oa']:.0f} % of the test shapes"
        lead += f" ({result.probe['start']:.0f} % before this training)." if "start" in result.probe else "."
    title, commands = f"What act3d learned from {plain_path(source).name}", "\n".join(_next_commands(result))
    page = replace(run_page(runs), title=title, lead=lead, commands=commands, maker="act3d teach")
    write_run_page(result.report, page)


def _print_places(result: TeachResult) -> None:
    """Print where everything lies and what to type next."""
    say()
    for what, place in (
        ("the page, look here first", result.report),
        ("the encoder", result.encoder),
        ("its teacher", result.out / "stage1"),
        ("the shapes, ready for training", result.data),
        ("the index", result.index),
    ):
        say(f"{what + ':':34}{place}")
    say()
    for line in _next_commands(result):
        say(typed(line))


def _next_commands(result: TeachResult) -> list[str]:
    weights = result.encoder / "checkpoints" / "last.safetensors"  # the index is of these
    data, where, encoder = (shlex.quote(str(place)) for place in (result.data, result.index, weights))
    words = "texts" in read_json(result.encoder / "results.json")
    lines = [
        f"act3d search my_shape.obj --index {where} --page found.html   # the nearest of these shapes",
        *([f'act3d search --text "..." --index {where} --page found.html   # by words'] if words else []),
        f"act3d index more_shapes --checkpoint {encoder} --out {where}   # add others",
    ]
    if result.probe:
        lines.append(
            f"act3d finetune --config small/finetune --data.root {data} --checkpoint {encoder}   # a classifier"
        )
    return lines

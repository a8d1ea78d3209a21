"""Runs the stages of a method: each once, resumable, in a folder that is named by its digest and its seed."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from act3d.commands.align import align
from act3d.commands.autoencode import autoencode
from act3d.commands.fewshot import fewshot
from act3d.commands.finetune import finetune
from act3d.commands.pretrain import pretrain
from act3d.commands.segment import segment
from act3d.engine.run_folder import RunFolder
from act3d.files import read_json, write_json
from act3d.presets import read_config
from act3d.settings.layers import nest
from benchmarks.evidence.cuts import cut_all, cut_more
from benchmarks.evidence.methods import STAGES, Stage, chain, digest

PROCESSOR = "processor_seconds.json"  # beside a run's own files: what it took, over all its resumes
COMMANDS: dict[str, Callable[..., Any]] = {
    "autoencode": autoencode, "pretrain": pretrain, "align": align, "finetune": finetune, "fewshot": fewshot,
    "segment": segment,
}  # fmt: skip


class Place(NamedTuple):
    """Where results of one seed live.

    Attributes:
        out: folder of everything. pool: the prepared collections. mode: "choice" or "final".
    """

    out: Path
    pool: Path
    mode: str
    seed: int

    def cuts(self) -> dict[str, Path]:
        """Return the datasets of this mode and seed, by collection."""
        return cut_all(self.pool, self.out / "data", self.mode, self.seed)

    def more(self) -> list[Path]:
        """Return the datasets that are trained on only, by stages that take more than what is judged."""
        return cut_more(self.pool, self.out / "data")

    def run(self, stage: str, ending: str = "") -> Path:
        """Return the run folder of a stage."""
        name = stage.replace(":", "-")
        return self.out / self.mode / "stages" / f"{name}{ending}-{digest(stage)}" / f"seed{self.seed}"

    def results(self, method: str, mark: str) -> Path:
        """Return the folder of a method's results."""
        name = method.replace(":", "-")
        return self.out / self.mode / "methods" / f"{name}-{mark}" / f"seed{self.seed}"


def train_stage(place: Place, stage: str, subset: str = "", ending: str = "") -> Path:
    """Train a stage, after those it starts from, unless that is done; return its run folder.

    Args:
        subset: a 0/1 column of the cut datasets; only these clouds train the last stage.
        ending: of the name of its folder, where a subset makes it another run.
    """
    for each in chain(stage)[:-1]:
        run_command(place.run(each.name), each.command, _values(place, each))
    last = STAGES[stage]
    values = _values(place, last) | ({"data.subset": subset} if subset else {})
    out = place.run(stage, ending)
    run_command(out, last.command, values)
    return out


def _values(place: Place, stage: Stage) -> dict[str, Any]:
    roots = [*place.cuts().values(), *(place.more() if stage.more else ())]
    values = stage.settings() | {"data.root": ",".join(map(str, roots)), "seed": place.seed}
    if stage.after:
        key = "teacher.checkpoint" if stage.command == "pretrain" else "checkpoint"
        values[key] = str(place.run(stage.after))
    return values


def run_command(out: Path, command: str, values: dict[str, Any]) -> dict[str, Any]:
    """Run a training command, or what is left of it; return its final numbers."""
    folder, values = RunFolder(out), dict(values)
    if not folder.finished:
        print(f"evidence: {command} -> {out}", file=sys.stderr, flush=True)
        config, began = values.pop("config", ()), time.process_time()
        try:
            COMMANDS[command](config=config, **nest(values), out=str(out), resume=folder.holds_run)
        finally:  # an interrupted run has cost something too
            if out.is_dir():
                spent = out / PROCESSOR
                write_json(spent, (read_json(spent) if spent.exists() else 0.0) + time.process_time() - began)
    results: dict[str, Any] = read_json(folder.results)
    return results


def cost(place: Place, stage: str) -> dict[str, float | None]:
    """Return what the finished stages of a chain took: processor seconds, and clouds seen."""
    folders = [RunFolder(place.run(each.name)) for each in chain(stage)]
    clouds = [
        read_json(folder.results)["metrics"]["steps"] * read_config(folder.config)["data"]["batch_size"]
        for folder in folders
    ]
    files = [folder.path / PROCESSOR for folder in folders]
    known = all(file.exists() for file in files)  # a run begun before this was kept does not say
    return {"processor_s": round(sum(map(read_json, files)), 1) if known else None, "clouds": sum(clouds)}

"""Makes a trained encoder part of act3d: `python -m benchmarks.ship RUN --row act3d-small@128`.

Writes src/act3d/weights/NAME.safetensors (float16), its row in known_models.csv, and docs/models/NAME.md, the model
card with the numbers that openings.jsonl has of it; NAME is the row's without what follows @. Run it again when there
are more.
"""

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

import torch

from act3d import checkpoints
from act3d.engine.run_folder import RunFolder
from act3d.files import read_json, sha256, write_text
from act3d.known_models import PACKAGE, TABLE, KnownModel, known_models, weights_folder
from act3d.models.text_head import COMPONENTS
from act3d.native_header import read_header
from benchmarks.evidence.features import with_patches
from benchmarks.evidence.methods import METHODS, chain, digest
from benchmarks.evidence.openings import LOG
from benchmarks.evidence.tables import current, number, read_lines
from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.training import PROCESSOR

DOCUMENTS = Path(__file__).parents[1] / "docs" / "models"
LICENCE = "MIT"
KEPT = (
    *("classes", "points", "normalization", "up", "source_up", "source_formats", "scale", "seed"),
    *("protocol", "command", "supervision", "texts"),
)
SHOWN = (  # task, number, heading
    ("frozen", "linear", "linear SVM"),
    ("frozen", "knn", "k-NN"),
    ("frozen", "fewshot", "5-way 10-shot"),
    ("frozen", "map", "search, mAP"),
    ("zero_shot", "zero_shot", "zero-shot"),
    ("tenth", "tenth", "fine-tuned, 10 % of the labels"),
    ("full", "full", "fine-tuned, all labels"),
    ("parts", "instance_miou", "parts, instance mIoU"),
    ("unseen", "nn1", "1-NN"),
    ("unseen", "map", "search, mAP"),
    ("unseen", "zero_shot", "zero-shot"),
)
COLLECTIONS = {"furniture": "furniture (14)", "kicad": "KiCad core (40)", "ldraw": "LDraw (33)"}
COLLECTIONS |= {"homedecor": "homedecor (12)"}
# What it was trained on -> the Debian package that it is in, and its licence.
SOURCES = {
    "furniture": ("sweethome3d-furniture", "CC0-1.0, CC-BY-3.0"),
    "kicad": ("kicad-packages3d", "CC-BY-SA-4.0 with KiCad's exception; some GPL-3+"),
    "ldraw": ("ldraw-parts", "CC-BY-2.0"),
    "contributed": ("sweethome3d-furniture-nonfree", "Free Art License 1.3"),
}


def halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in float16; running statistics of batch norms stay as they are."""
    return {k: v.half() if v.is_floating_point() and "running_" not in k else v for k, v in state.items()}


def facts(found: checkpoints.Checkpoint[Any], row: str) -> dict[str, Any]:
    """Return what the shipped file says of itself: nothing of the machine that it was trained on."""
    meta = {key: found.meta[key] for key in KEPT if key in found.meta}
    data = {key: found.meta["data"][key] for key in ("name", "fingerprint", "datasets")}
    return meta | {"name": row, "licence": LICENCE, "data": data, "data_licence": found.meta["licence"]}


def numbers(row: str) -> dict[str, dict[str, dict[int, float]]]:
    """Return the numbers of a row that were opened: heading -> collection -> seed -> value.

    What a row is not asked is that of the row whose fine-tuning is its own, or else of the row of its training.
    """
    opened = current(read_lines(LOG))
    found: dict[str, dict[str, dict[int, float]]] = {}
    for task, key, heading in SHOWN:
        named = (row, METHODS[row].tuned, METHODS[row].stage)
        of = next((name for name in named if name and TASKS[task].suits(METHODS[name], "final")), row)
        for collection in COLLECTIONS:
            values = number(opened, task, collection, key).get(of)
            if values:
                found.setdefault(heading, {})[collection] = values
    return found


def name_of(row: str) -> str:
    """Return the name of the weights: "act3d-small" of "act3d-small@128"."""
    return row.partition("@")[0]


def mean(values: dict[int, float] | None) -> str:
    """Return a mean for the card."""
    return "" if not values else f"{sum(values.values()) / len(values):.1f}"


def table(row: str, seed: int) -> list[str]:
    """Return the card's table: the shipped weights (one seed), the recipe's mean, plain features and scratch beside."""
    own = numbers(row)
    others = {"the recipe": own, "plain features": numbers("plain"), "from scratch": numbers("scratch")}
    lines = [f"| percent | | {' | '.join(COLLECTIONS.values())} |", "|---|---|" + "---|" * len(COLLECTIONS)]
    for heading in dict.fromkeys(heading for _, _, heading in SHOWN):
        cells = own.get(heading)
        if not cells:
            continue
        shipped = [mean({seed: cells[c][seed]} if seed in cells.get(c, {}) else None) for c in COLLECTIONS]
        lines.append(f"| {heading} | these weights | {' | '.join(shipped)} |")
        for name, found in others.items():
            values = found.get(heading, {})
            seeds = max(map(len, values.values()), default=0)
            if seeds > (1 if found is own else 0):
                means = " | ".join(mean(values.get(c)) for c in COLLECTIONS)
                lines.append(f"| | {name}, {'one seed' if seeds == 1 else f'mean of {seeds} seeds'} | {means} |")
    return lines


def card(run: Path, row: str, path: Path) -> str:
    """Return the model card."""
    header = read_header(path)
    meta, config = header["meta"], header["config"]
    parameters = sum(value.numel() for value in checkpoints.load(path).model.parameters())
    holds = [f"{parameters / 1e6:.1f} million weights in float16"]
    if kept := config.get("memory", 0):
        holds.append(f"the vectors of the {kept} texts that it learned from, without the texts")
    if examples := config.get("examples", 0):
        holds.append(f"{COMPONENTS} numbers of each of the {examples} shapes that were called so")
    datasets = [
        f"| {each['name']} | {SOURCES[each['name']][0]} | {each['clouds']} | {SOURCES[each['name']][1]} |"
        for each in meta["data"]["datasets"]
    ]
    stages, steps, minutes = chain(METHODS[row].stage), [], 0.0
    for stage in stages:
        values, made = stage.settings(), run.parents[1] / f"{stage.name}-{digest(stage.name)}" / run.name
        minutes += read_json(made / PROCESSOR) / 60
        steps.append(f"{stage.command} ({values['trainer.epochs']} passes at {values['align.patches']} patches)")
    return "\n".join(
        [
            f"# {name_of(row)}",
            "",
            "The encoder that comes with act3d. `embed`, `index`, `app` and `predict --labels` take it where no "
            "checkpoint is named.",
            "",
            "```python",
            "import act3d",
            "",
            f'model = act3d.load("{name_of(row)}")',
            'model.embed("chair.obj")  # 384 numbers that describe the shape',
            'model.classify("chair.obj", ["chair", "table", "lamp"])  # by any words; needs act3d[minilm]',
            "```",
            "",
            "## What it is",
            f"{'; '.join(holds)}; {path.stat().st_size / 1e6:.1f} MB. "
            f"{config['patches']} patches of {config['patch_size']} points, width {config['width']}, {config['depth']} "
            f"blocks; {meta['points']} points a cloud, {meta['up']} up, in the unit sphere. Besides, two layers that "
            f"put a shape among the texts of MiniLM ({config['text_width']} numbers).",
            "",
            "It is **name-supervised**: it learned from the names of files, which often say what a shape is. No class "
            "label was read.",
            "",
            "## How it was made",
            f"{', then '.join(steps)}, seed {meta['seed']}, on the training and unlabelled shapes of {len(datasets)} "
            f"collections (`python -m benchmarks.evidence --only {METHODS[row].stage}`, then `python -m "
            f"benchmarks.ship`). Recipe {digest(METHODS[row].stage)}; {minutes:.0f} minutes of one core's time.",
            "",
            "| data | Debian's package | shapes | licence of the models |",
            "|---|---|---|---|",
            *datasets,
            "",
            f"Authors are named in these packages. The weights are {LICENCE}, as act3d is.",
            "",
            "## What it can do",
            "Test families, opened once by the [protocol](../results/protocol.md); number of classes in brackets. Of "
            "homedecor nothing was seen in training.",
            "",
            *table(row, meta["seed"]),
            "",
            "## Limits",
            "Furniture, electronic parts and LEGO-like bricks, as clean meshes that stand upright. It knows few other "
            "things, and was not tested on scans. Words are English; words that no file name held are guesses. Shapes "
            "that differ only in size are alike to it.",
            "",
        ]
    )


def register(row: str, model: Any, path: Path, meta: dict[str, Any]) -> None:
    """Write the model's row into the table of known models, in place of one of that name."""
    found = numbers(row).get("k-NN", {})
    results = ", ".join(
        f"{name} {mean({0: found[name][meta['seed']]})}" for name in found if meta["seed"] in found[name]
    )
    own = KnownModel(
        name_of(row), model.kind, PACKAGE, sha256(path), LICENCE, meta["points"], model.patches, meta["normalization"],
        f"k-NN on test families: {results}" if results else "",
    )  # fmt: skip
    rows = [own, *(each for each in known_models().values() if each.name != name_of(row))]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([KnownModel._fields, *rows])
    write_text(weights_folder().parent / TABLE, file.getvalue())


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ship", description=__doc__)
    parser.add_argument("run", type=Path, help="finished run folder")
    parser.add_argument("--row", required=True, choices=METHODS, help="the row of benchmarks.evidence that it is of")
    options = parser.parse_args()
    RunFolder(options.run).read_results()  # refuses a run that is not finished
    found = checkpoints.load(options.run / "checkpoints" / "last.safetensors")
    name = name_of(options.row)
    path = weights_folder() / f"{name}.safetensors"
    model = with_patches(found.model, METHODS[options.row].patches)
    checkpoints.save(model, path, facts(found, name), halved(checkpoints.stored_state(model)))
    register(options.row, model, path, found.meta)
    write_text(DOCUMENTS / f"{name}.md", card(options.run, options.row, path))
    print(json.dumps({"weights": str(path), "bytes": path.stat().st_size}))


if __name__ == "__main__":
    main()

"""What a method is asked to do. Each task gives numbers by collection, kept in a file: asked for again, it is read."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from act3d.data import open_dataset
from act3d.data.fewshot import Task as Relabelled
from act3d.evaluation.features import embed
from act3d.evaluation.retrieval import measure_scaling, retrieval_quality
from act3d.files import write_json
from benchmarks.evidence import features
from benchmarks.evidence.cuts import COLLECTIONS, NAME_GROUPS, TENTHS, class_groups
from benchmarks.evidence.features import ENCODER, POINTS, Numbers, bits_of, open_judged
from benchmarks.evidence.methods import HEAD, Method, recipe_digest
from benchmarks.evidence.training import Place, cost, run_command, train_stage

DOCUMENTS = Path(__file__).parents[2] / "docs" / "results"
HIDDEN = ("names", "point_mae+names")  # methods that are trained anew with classes held out of the names
Results = dict[str, Numbers]  # by collection
# Trainings on labels: presets, and what differs from them.
FINETUNE: dict[str, Any] = {"config": ["small/finetune"], "trainer.min_steps": 500, "trainer.step_ceiling": 1000}
PARTS: dict[str, Any] = {"config": ["small/parts"], "segmenter.depth": ENCODER["depth"]}
FEWSHOT: dict[str, Any] = {"config": ["small/fewshot"], "tasks.folds": features.TASKS}
FEWSHOT |= {"tasks.ways": [features.WAY], "tasks.shots": [features.SHOT]}


@dataclass(frozen=True)
class Asked:
    """A method with its trained encoder (None where nothing is trained), and where its data and results lie."""

    method: Method
    place: Place
    run: Path | None

    @property
    def seed(self) -> int:
        return self.place.seed

    @property
    def folder(self) -> Path:
        return self.place.results(self.method.name, recipe_digest(self.method))


def class_words() -> dict[str, dict[str, str]]:
    """Return the words that shapes are called in zero-shot tests: by collection, class -> word."""
    words: dict[str, dict[str, str]] = json.loads((DOCUMENTS / "class_words.json").read_text(encoding="utf-8"))
    return words


def frozen(asked: Asked) -> Results:
    """Simple classifiers, few-shot tasks and search on frozen features."""
    found: Results = {}
    for name, folder in asked.place.cuts().items():
        shapes = open_judged(folder, asked.place.mode, asked.seed)
        kinds = features.embeddings(asked.method, asked.run, asked.seed, shapes.train)
        few = asked.place.mode == "final"
        judged = {kind: features.judge(function, shapes, asked.seed, few) for kind, function in kinds.items()}
        found[name] = judged.pop("encoder") | judged
    return found


def zero_shot(asked: Asked) -> Results:
    """Naming by class words, among the classes that are scored."""
    assert asked.run is not None
    found: Results = {}
    for name, folder in asked.place.cuts().items():
        shapes = open_judged(folder, asked.place.mode, asked.seed)
        known = np.unique(np.concatenate([shapes.train.labels, shapes.test.labels]))
        words, patches = class_words()[name], asked.method.patches
        found[name] = features.zero_shot(asked.run, shapes.test, words, known, patches=patches)
    return found


def hidden_names(asked: Asked) -> Results:
    """Naming classes that were held out of the names: four groups, a training of alignment for each."""
    found: Results = {name: {} for name in asked.place.cuts()}
    right: dict[str, list[str]] = {name: [] for name in found}
    for group in range(NAME_GROUPS):
        run = train_stage(asked.place, asked.method.stage, f"names{group}", f"-hidden{group}")
        for name, folder in asked.place.cuts().items():
            shapes = open_judged(folder, asked.place.mode, asked.seed)
            known = np.unique(np.concatenate([shapes.train.labels, shapes.test.labels]))
            held = [shapes.test.classes.index(cls) for cls in class_groups(shapes.test.classes)[group]]
            rows = np.isin(shapes.test.labels, held)
            if rows.any():
                numbers = features.zero_shot(run, shapes.test, class_words()[name], known, rows)
                right[name].append(numbers["right"]["zero_shot"])
    for name, bits in right.items():
        every = np.concatenate([features.right_of(text) for text in bits])
        found[name] = {"zero_shot_hidden": 100 * float(every.mean()), "right": {"zero_shot_hidden": bits_of(every)}}
    return found


def _of(asked: Asked, folder: Path, subset: str) -> dict[str, Any]:
    """Return the settings of a training on labels: on what, from where."""
    start = str(asked.run) if asked.run else ""
    return {"data.root": str(folder), "data.subset": subset, "seed": asked.seed, "checkpoint": start}


def fine_tuned(asked: Asked, subset: str, name: str) -> Results:
    """Fine-tuning with the labels of a subset."""
    found: Results = {}
    for collection, folder in asked.place.cuts().items():
        values = FINETUNE | _of(asked, folder, subset) | {"classifier.head": asked.method.head}
        metrics = run_command(asked.folder / name / collection, "finetune", values)["metrics"]
        found[collection] = {name: metrics["oa"], f"{name}_macc": metrics["macc"]}
    return found


def tenth(asked: Asked) -> Results:
    """Fine-tuning with a tenth of the labels."""
    return fine_tuned(asked, f"tenth{asked.seed % TENTHS}", "tenth")


def full(asked: Asked) -> Results:
    """Fine-tuning with all labels."""
    return fine_tuned(asked, "core", "full")


def few_tuned(asked: Asked) -> Results:
    """5-way 10-shot tasks, the same as on frozen features, by fine-tuning."""
    found: Results = {}
    for collection, folder in asked.place.cuts().items():
        values = FEWSHOT | _of(asked, folder, "core") | {"tasks.draw_seed": asked.seed}
        values["classifier.head"] = asked.method.head
        metrics = run_command(asked.folder / "few_tuned" / collection, "fewshot", values)["metrics"]
        (setting,) = metrics["settings"].values()
        found[collection] = {"fewshot_tuned": setting["mean"], "fewshot_tasks": list(setting["folds"].values())}
    return found


def parts(asked: Asked) -> Results:
    """Part segmentation of the collections that have parts."""
    found: Results = {}
    for collection in COLLECTIONS:
        if collection.leave_out:
            folder = asked.place.cuts()[collection.name]
            values = PARTS | _of(asked, folder, "core") | {"segmenter.leave_out": collection.leave_out}
            metrics = run_command(asked.folder / "parts" / collection.name, "segment", values)["metrics"]
            found[collection.name] = {key: value for key, value in metrics.items() if isinstance(value, float)}
    return found


def unseen(asked: Asked) -> Results:
    """A collection of which nothing was seen: 1-NN without the shape itself, search, and naming by class words."""
    root = asked.place.out / "data" / "homedecor"
    with (DOCUMENTS / "homedecor_labels.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["file"]: row["class"] for row in csv.DictReader(file)}
    clouds = open_dataset(root, points=POINTS, seed=asked.seed)
    classes = sorted(set(labels.values()))
    rows = np.array([row for row, name in enumerate(clouds.names) if Path(name).stem in labels])
    ids = np.array([classes.index(labels[Path(clouds.names[row]).stem]) for row in rows])
    shapes = Relabelled(clouds, rows, ids, classes)
    kinds = features.embeddings(asked.method, asked.run, asked.seed, shapes)
    numbers: Numbers = {}
    for kind, function in kinds.items():
        x = embed(function, shapes).x
        vectors = measure_scaling(x)(x)
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, -np.inf)
        right = ids[similarity.argmax(axis=1)] == ids
        quality = retrieval_quality(vectors, [classes[label] for label in ids])
        found = {"nn1": 100 * float(right.mean()), "map": quality.mean_ap, "right": {"nn1": bits_of(right)}}
        numbers |= found if kind == "encoder" else {kind: found}
    if asked.method.words and asked.run is not None:
        words, every = class_words()["homedecor"], np.arange(len(classes))
        named = features.zero_shot(asked.run, shapes, words, every, patches=asked.method.patches)
        numbers["zero_shot"] = named["zero_shot"]
        numbers["right"]["zero_shot"] = named["right"]["zero_shot"]
    return {"homedecor": numbers}


@dataclass(frozen=True)
class Task:
    """A task: what does it, in which modes, and for which methods."""

    name: str
    work: Callable[[Asked], Results]
    modes: tuple[str, ...] = ("final",)
    trains: bool = False  # from scratch too; features without an encoder are not fine-tuned

    def suits(self, method: Method, mode: str) -> bool:
        """Tell whether a method is asked this."""
        if mode not in self.modes or (method.kind == "scratch" and not self.trains):
            return False
        if method.head != HEAD:  # the rest is asked of the row with the usual head
            return self.name in ("tenth", "full")
        if self.name == "few_tuned":
            return method.kind == "scratch"  # encoders are asked on their frozen features
        if self.trains:  # a classifier has patches of its own
            return method.kind in ("scratch", "encoder") and not method.patches
        if self.name == "zero_shot":
            return method.words
        return self.name != "hidden_names" or method.name in HIDDEN


TASKS = {
    task.name: task
    for task in (
        Task("frozen", frozen, ("choice", "final")),
        Task("zero_shot", zero_shot, ("choice", "final")),
        Task("unseen", unseen),
        Task("tenth", tenth, trains=True),
        Task("full", full, trains=True),
        Task("parts", parts, trains=True),
        Task("few_tuned", few_tuned, trains=True),
        Task("hidden_names", hidden_names),
    )
}


def do(task: Task, asked: Asked) -> dict[str, Any]:
    """Return a task's results with what they were measured on, from its file if it was done before."""
    file = asked.folder / f"{task.name}.json"
    if not file.exists():
        numbers = task.work(asked)
        marks = {name: open_dataset(folder).fingerprint for name, folder in asked.place.cuts().items()}
        about = {"method": asked.method.name, "digest": recipe_digest(asked.method), "seed": asked.seed}
        spent = cost(asked.place, asked.method.stage)
        write_json(
            file,
            {"mode": asked.place.mode, **about, "task": task.name, "data": marks, "cost": spent, "numbers": numbers},
        )
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return results

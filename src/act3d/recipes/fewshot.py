"""One few-shot task: a classifier learns a handful of shapes, all of them on the device.

A fold takes seconds to minutes: it is repeated from its start when it was interrupted, not resumed inside.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act3d import checkpoints
from act3d.data.fewshot import Fold
from act3d.data.views import draw_random, fixed_points, widened
from act3d.engine.loop import train
from act3d.engine.optimizer import parameter_counts
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.engine.seeding import mix
from act3d.errors import ConfigError, InputError
from act3d.evaluation.classification import ClassScores, logits_of, score
from act3d.files import read_json
from act3d.models.classifier import Classifier
from act3d.recipes.classifier import build_classifier, classification_losses
from act3d.settings.model import to_dict
from act3d.settings.tasks import FewshotSettings


class FoldBatches:
    """The training shapes of a fold on the device, in an order by (seed, epoch).

    Unlike in larger trainings no shape is left out; a single one at the end of an epoch joins the batch before, since
    batch statistics need two.

    Args:
        points: (S, P, 3): what steps draw from.
        labels: (S,).
        batch_size: shapes a step.
        seed: of the order.
    """

    def __init__(self, points: Tensor, labels: Tensor, batch_size: int, seed: int) -> None:
        self.points, self.labels, self.batch_size, self.seed = points, labels, batch_size, seed
        self.lives_on = self.place = str(points.device)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        parts = list(torch.randperm(len(self.labels), generator=generator).split(self.batch_size))
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        self._parts, self._first = parts, 0

    def start_at(self, batch: int) -> None:
        """Begin the next iteration at this batch of the epoch."""
        self._first = batch

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for rows in self._parts[self._first :]:
            rows = rows.to(self.points.device)
            yield {"points": self.points[rows], "label": self.labels[rows], "index": rows}


class FoldTraining(Recipe):
    """Trains `Classifier` on a task. The farthest points that steps draw from are found once.

    Args:
        settings: `FewshotSettings`.
        model: a classifier of as many classes as the task has.
        task: training and test clouds, with all their stored points.
        seed: of order, choice of points, augmentation and dropout.

    Attributes:
        best: scores of the best epoch under "legacy".

    Raises:
        InputError: the clouds store too few points.
    """

    command = "fewshot"
    train_columns = ("loss", "train_oa")
    model: Classifier

    def __init__(self, settings: Any, model: Classifier, task: Fold, seed: int) -> None:
        super().__init__(settings, model, task.train)
        self.task, self.protocol, self.seed = task, settings.protocol, seed
        # A fold is small work for one device; only "legacy" looks at the test shapes meanwhile.
        every = int(settings.protocol == "legacy")
        self.plan = self.plan.model_copy(update={"devices": 1, "nodes": 0, "validate_every": every})
        wanted, stored = self.data.points, task.train.points
        if stored < wanted:
            raise InputError(f"data.points: {wanted} asked for; {task.train.name} stores {stored} a cloud")
        self._test_points = fixed_points(task.test, wanted)
        self.best: ClassScores | None = None

    def loader(self, device: torch.device, was: str = "", lanes: int = 0) -> FoldBatches:
        """Return batches of the farthest points."""
        train = self.task.train
        points = fixed_points(train, widened(self.data.points, train.points)).to(device)
        return FoldBatches(points, torch.from_numpy(train.labels).to(device), self.data.batch_size, self.seed)

    def draw(self, points: Tensor) -> Tensor:
        """Return the random points (B, N, 3) that this step sees."""
        return draw_random(points, self.data.points)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the cross entropy, and the percentage right, of points (B, N, 3)."""
        return classification_losses(self.model, points, batch["label"], self.settings.classifier.label_smoothing)

    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Under "legacy", score the test shapes after every epoch, and remember the best."""
        if self.protocol == "legacy":
            scores = self._score()
            self.best = scores if self.best is None or scores.oa > self.best.oa else self.best
        return {}

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Return the accuracy of the last epoch, "oa_last", and of the one that the protocol reports, "oa"."""
        last = self._score()
        return {"oa": (self.best or last).oa, "oa_last": last.oa}

    def _score(self) -> ClassScores:
        test = self.task.test
        predicted = logits_of(self.model.eval(), self._test_points, self.data.batch_size).argmax(dim=1).numpy()
        return score(predicted, test.labels, test.classes)


def run_fold(
    settings: FewshotSettings, task: Fold, mark: str, folder: RunFolder, name: str, fold: int
) -> dict[str, Any]:
    """Train and test on one task; return what is kept of it, as it is written to `folds/`."""
    began = time.monotonic()
    seed = settings.seed * 1000 + fold
    classes = task.train.classes
    model, start = build_classifier(settings.checkpoint, settings.classifier, task.train.class_words(), seed)
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
        "head": model.head_kind,
        **recipe.facts,
        "parameters": parameter_counts(model),
        "settings": mark,
        "duration_s": round(time.monotonic() - began, 1),
    }


def settings_digest(settings: FewshotSettings, about: dict[str, Any]) -> str:
    """Return a hash of all that decides a fold's result: a kept fold counts for the same settings and data only."""
    plain = to_dict(settings)
    kept = {key: plain[key] for key in ("seed", "checkpoint", "data", "classifier", "optim", "protocol", "test_split")}
    names = ("epochs", "min_steps", "max_steps", "accumulate", "precision", "fast_dev_run")
    kept["trainer"] = {name: plain["trainer"][name] for name in names}
    if plain["trainer"]["step_ceiling"]:  # folds of before there was one stay
        kept["trainer"]["step_ceiling"] = plain["trainer"]["step_ceiling"]
    kept["about"] = about
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def read_kept_fold(file: Path, mark: str) -> dict[str, Any] | None:
    """Return what `run_fold` gave, from its file; None where there is none.

    Raises:
        InputError: the file is damaged.
        ConfigError: it was run with other settings or data.
    """
    if not file.exists():
        return None
    done = read_json(file)
    if not isinstance(done, dict) or not {"settings", "oa", "start"} <= done.keys():
        raise InputError(f"{file} is damaged; remove it and this fold will be run again")
    # Before folds said their head, it was never one of words, which it would be now.
    earlier = "head" not in done and done["start"].get("supervision")
    if done["settings"] != mark or earlier:
        raise ConfigError(f"out: {file} was run with other settings or data; choose another folder by --out")
    return done

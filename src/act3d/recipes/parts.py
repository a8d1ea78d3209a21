"""Segmentation of parts: a label for every point of a shape, among the parts its category has (SPEC 5)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from act3d import checkpoints
from act3d.data.clouds import CloudDataset
from act3d.data.views import Selection, holdout_rows
from act3d.engine import processes
from act3d.engine.clouds import open_split
from act3d.engine.module import StageModule
from act3d.engine.run_folder import RunFolder
from act3d.engine.seeding import mix
from act3d.errors import InputError
from act3d.evaluation.protocol import Trio
from act3d.evaluation.segmentation import UNLABELLED, PartScores
from act3d.models.segmenter import Segmenter
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig

NUMBERS = ("instance_miou", "class_miou", "accuracy")
VOTE_SCALE = (0.8, 1.25)  # one factor a cloud and pass


class PartClouds(Selection):
    """Shapes that have a category and parts to tell apart, of a dataset with part labels.

    Args:
        source: The dataset.
        leave_out: Names of classes whose shapes are left out, and of parts whose points become unlabelled.

    Raises:
        InputError: No part labels, a name that is neither class nor part, or nothing left.
    """

    def __init__(self, source: CloudDataset, leave_out: str = "") -> None:
        names = [name for name in leave_out.split("+") if name]
        unknown = [name for name in names if name not in source.classes and name not in source.parts]
        if unknown:
            raise InputError(f"leave_out: {unknown[0]!r} is neither a class nor a part of {source.name}")
        if not source.parts:
            raise InputError(f"{source.name} has no part labels")
        without = [source.parts.index(name) for name in names if name in source.parts]
        kept = {cls: [part for part in ids if part not in without] for cls, ids in source.class_parts.items()}
        wanted = [i for i, cls in enumerate(source.classes) if cls not in names and kept.get(cls)]
        rows = np.flatnonzero(np.isin(source.labels, wanted))
        if not len(rows):
            raise InputError(f"{source.name} has no labelled shapes left")
        super().__init__(source, rows)
        self.class_parts = {source.classes[i]: kept[source.classes[i]] for i in wanted}
        self._without = torch.tensor(without, dtype=torch.int64)

    def read(self, rows: np.ndarray, epoch: int) -> tuple[Tensor, Tensor | None]:
        points, parts = super().read(rows, epoch)
        assert parts is not None
        return points, parts.masked_fill(torch.isin(parts, self._without), UNLABELLED)

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points, parts = super().read_whole(rows)
        assert parts is not None
        return points, np.where(np.isin(parts, self._without.numpy()), UNLABELLED, parts.astype(np.int16))


def open_parts(
    data: DataConfig, protocol: Protocol, select: Select, seed: int, test_split: str, leave_out: str
) -> Trio:
    """Open the shapes of a run by protocol; see `act3d.evaluation.protocol`. Test and watched points never change."""
    train = PartClouds(open_split(data, seed, data.split), leave_out)
    test = PartClouds(open_split(data, 0, test_split), leave_out)
    if protocol == "legacy":
        return Trio(train, test, test)
    if select == "last":
        return Trio(train, None, test)
    if data.val_split not in ("holdout", "none"):
        return Trio(train, PartClouds(open_split(data, 0, data.val_split), leave_out), test)
    held = holdout_rows(train.labels, data.val_fraction, seed)
    if data.val_split == "none" or not 0 < len(held) < len(train):
        raise InputError("data.val_split: select=best has to watch something; use holdout with more shapes, or last")
    rest = np.setdiff1d(np.arange(len(train)), held)
    return Trio(Selection(train, rest), Selection(train, held), test)


def allowed_parts(clouds: CloudDataset) -> Tensor:
    """bool (categories, parts): the parts that each category has."""
    allowed = torch.zeros(len(clouds.classes), len(clouds.parts), dtype=torch.bool)
    for i, cls in enumerate(clouds.classes):
        allowed[i, clouds.class_parts.get(cls, [])] = True
    return allowed


@torch.no_grad()
def predict_parts(
    model: Segmenter, clouds: CloudDataset, rows: np.ndarray, batch_size: int, votes: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield predictions (B, N), true parts (B, N) and categories (B,) of the shapes at `rows`, always the same points.

    With `votes`, the shape as it is and `votes` - 1 copies, each scaled by a factor U(0.8, 1.25), are averaged.
    """
    device = next(model.parameters()).device
    allowed = allowed_parts(clouds).to(device)
    generator = torch.Generator().manual_seed(mix(0, votes))
    for start in range(0, len(rows), batch_size):
        batch = clouds.fetch(rows[start : start + batch_size].tolist(), 0)
        points, label = batch["points"].to(device), batch["label"].to(device)
        total = model(points, label).softmax(dim=2)
        for _ in range(votes - 1):
            low, high = VOTE_SCALE
            scale = low + (high - low) * torch.rand(len(points), 1, 1, generator=generator)
            total = total + model(points * scale.to(device), label).softmax(dim=2)
        found = total.masked_fill(~allowed[label].unsqueeze(1), -1).argmax(dim=2)
        yield found.cpu().numpy(), batch["parts"].numpy(), batch["label"].numpy()


class PartModule(StageModule):
    """Trains `Segmenter` on parts by cross entropy over all points.

    Args:
        model: the segmenter.
        clouds: what trains, what is watched, what judges.
        protocol: see `act3d.evaluation.protocol`.
        votes: passes of the vote at the end.
    """

    train_columns = ("loss", "train_accuracy")
    best_metric = "val_instance_miou"
    lower_is_better = False
    model: Segmenter

    def __init__(
        self,
        model: Segmenter,
        clouds: Trio,
        protocol: Protocol,
        votes: int,
        data: DataConfig,
        optim: OptimConfig,
        trainer: TrainerConfig,
        seed: int,
    ) -> None:
        super().__init__(model, data, optim, trainer, seed)
        self.clouds, self.protocol, self.votes = clouds, protocol, votes
        self.eval_columns = tuple(f"val_{name}" for name in NUMBERS) if clouds.watch is not None else ()

    def losses(self, points: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross entropy, and the percentage of points that are right."""
        logits, parts = self.model(points, batch["label"]), batch["parts"]
        loss = F.cross_entropy(logits.flatten(0, 1), parts.flatten(), ignore_index=UNLABELLED)
        judged = parts != UNLABELLED
        right = ((logits.argmax(dim=2) == parts) & judged).sum() / judged.sum().clamp(min=1)
        return {"loss": loss, "train_accuracy": 100 * right}

    def evaluate(self, limit: int = 0) -> dict[str, Any]:
        """Return instance mIoU, class mIoU and accuracy on the watched shapes, all of the same weights."""
        if self.clouds.watch is None:
            return {}
        processes.share_buffers(self.model)
        scores = self._scores(self.model, self.clouds.watch, 0, limit)
        return {f"val_{name}": scores[name] for name in NUMBERS}

    def conclude(self, folder: RunFolder) -> dict[str, Any]:
        """Look at the test set, plainly and with votes; under "legacy" at the last weights as well."""
        from act3d.engine.fit import device_of

        limit = 1 if self.plan.fast_dev_run else 0
        device = device_of(self.plan)
        model, chosen = self.model.to(device).eval(), "last"
        extra: dict[str, Any] = {}
        if self.clouds.watch is not None and folder.best.exists():
            if self.protocol == "legacy":
                last = self._scores(model, self.clouds.test, 0, limit, alone=True)
                extra = {f"{name}_last": last[name] for name in NUMBERS}
            model, chosen = checkpoints.load(folder.best, device, expect=Segmenter).model, "best"
        metrics = self._scores(model, self.clouds.test, 0, limit, alone=True) | extra | {"weights": chosen}
        if self.votes > 1:
            voted = self._scores(model, self.clouds.test, self.votes, limit, alone=True)
            metrics |= {f"{name}_voted": voted[name] for name in NUMBERS} | {"votes": self.votes}
        return metrics

    def _scores(
        self, model: Segmenter, clouds: CloudDataset, votes: int, limit: int, alone: bool = False
    ) -> dict[str, Any]:
        """Judge all shapes; with several processes together, unless this one is `alone`."""
        scores = PartScores(clouds.classes, clouds.class_parts)
        rows = np.arange(len(clouds))[: limit * self.data.batch_size or None]
        rows = rows if alone else rows[processes.rank() :: processes.world()]
        found = list(predict_parts(model, clouds, rows, self.data.batch_size, votes))
        for results in [found] if alone else processes.gather_objects(found):
            for predicted, truth, category in results:
                scores.add(predicted, truth, category)
        return scores.result()

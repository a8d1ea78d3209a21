"""Segmentation of parts: a label for every point of a shape, among the parts its category has (SPEC 5)."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from act3d import checkpoints
from act3d.data.clouds import CloudDataset
from act3d.data.rooms import UNLABELLED
from act3d.data.views import PartClouds
from act3d.engine import processes
from act3d.engine.clouds import open_split
from act3d.engine.module import StageModule
from act3d.engine.run_folder import RunFolder
from act3d.engine.seeding import mix
from act3d.evaluation.parts import NUMBERS, judge_parts, predict_parts
from act3d.evaluation.protocol import Trio, open_trio
from act3d.evaluation.segmentation import PartScores
from act3d.models.segmenter import Segmenter
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig


def open_parts(
    data: DataConfig, protocol: Protocol, select: Select, seed: int, test_split: str, leave_out: str
) -> Trio:
    """Open the shapes of a run by protocol; see `act3d.evaluation.protocol`. Test and watched points never change."""

    def open_shapes(split: str, points_seed: int) -> CloudDataset:
        return PartClouds(open_split(data, points_seed, split), leave_out)

    return open_trio(open_shapes, data, protocol, select, seed, test_split)


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
        scores = self._scores(self.model, self.clouds.watch, limit)
        return {f"val_{name}": scores[name] for name in NUMBERS}

    def conclude(self, folder: RunFolder) -> dict[str, Any]:
        """Look at the test set, plainly and with votes; under "legacy" at the last weights as well."""
        from act3d.engine.fit import device_of

        limit = 1 if self.plan.fast_dev_run else 0
        device, seed = device_of(self.plan), mix(0, self.votes)
        model, chosen = self.model.to(device).eval(), "last"
        extra: dict[str, Any] = {}
        if self.clouds.watch is not None and folder.best.exists():
            if self.protocol == "legacy":
                last = judge_parts(model, self.clouds.test, self.data.batch_size, limit=limit)
                extra = {f"{name}_last": last[name] for name in NUMBERS}
            model, chosen = checkpoints.load(folder.best, device, expect=Segmenter).model, "best"
        metrics = judge_parts(model, self.clouds.test, self.data.batch_size, self.votes, seed, limit)
        return metrics | extra | {"weights": chosen}

    def _scores(self, model: Segmenter, clouds: CloudDataset, limit: int) -> dict[str, Any]:
        """Judge all shapes; several processes share them."""
        scores = PartScores(clouds.classes, clouds.class_parts)
        rows = np.arange(len(clouds))[: limit * self.data.batch_size or None][processes.rank() :: processes.world()]
        found = list(predict_parts(model, clouds, rows, self.data.batch_size))
        for results in processes.gather_objects(found):
            for predicted, truth, category in results:
                scores.add(predicted, truth, category)
        return scores.result()

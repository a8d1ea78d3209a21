"""Fine-tuning: a student's encoder becomes a classifier (ACT, section 4.1)."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from act3d import checkpoints
from act3d.data.views import draw_training, fixed_points
from act3d.engine import processes
from act3d.engine.module import StageModule
from act3d.engine.run_folder import RunFolder
from act3d.evaluation.classification import ClassScores, logits_of, score
from act3d.evaluation.protocol import Trio
from act3d.models.classifier import Classifier
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig


class ClassifierModule(StageModule):
    """Trains `Classifier` by cross entropy.

    Args:
        model: the classifier.
        clouds: what trains, what is watched, what judges; with all their stored points.
        protocol, select: see `act3d.evaluation.protocol`.
        label_smoothing: share of every label that is spread over all classes.
    """

    train_columns = ("loss", "train_oa")
    best_metric = "val_oa"
    lower_is_better = False
    model: Classifier

    def __init__(
        self,
        model: Classifier,
        clouds: Trio,
        protocol: Protocol,
        select: Select,
        label_smoothing: float,
        data: DataConfig,
        optim: OptimConfig,
        trainer: TrainerConfig,
        seed: int,
    ) -> None:
        super().__init__(model, data, optim, trainer, seed)
        self.clouds, self.protocol, self.select = clouds, protocol, select
        self.label_smoothing = label_smoothing
        self.eval_columns = ("val_oa", "val_macc") if clouds.watch is not None else ()
        self._watched: Tensor | None = None

    def draw(self, points: Tensor) -> Tensor:
        """Return the random farthest points (B, N, 3) that this step sees."""
        return draw_training(points, self.data.points)

    def losses(self, points: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross entropy, and the percentage right, of points (B, N, 3)."""
        logits, label = self.model(points), batch["label"]
        loss = F.cross_entropy(logits, label, label_smoothing=self.label_smoothing)
        return {"loss": loss, "train_oa": 100 * (logits.argmax(dim=1) == label).float().mean()}

    def evaluate(self, limit: int = 0) -> dict[str, Any]:
        """Return OA and mAcc on the watched clouds as "val_oa" and "val_macc"."""
        if self.clouds.watch is None:
            return {}
        processes.share_buffers(self.model)
        if self._watched is None:  # the same points every time: drawn once
            self._watched = fixed_points(self.clouds.watch, self.data.points, limit=limit * self.data.batch_size)
        rank, world = processes.rank(), processes.world()
        mine = logits_of(self.model, self._watched[rank::world], self.data.batch_size).argmax(dim=1)
        predicted = np.zeros(len(self._watched), dtype=np.int64)
        for other, part in enumerate(processes.gather_objects(mine.numpy())):
            predicted[other::world] = part
        scores = score(predicted, self.clouds.watch.labels[: len(predicted)], self.clouds.watch.classes)
        return {"val_oa": scores.oa, "val_macc": scores.macc}

    def conclude(self, folder: RunFolder) -> dict[str, Any]:
        """Look at the test set: with the weights that the protocol chose; under "legacy" with the last ones as well."""
        from act3d.engine.fit import device_of

        limit = self.data.batch_size if self.plan.fast_dev_run else 0
        points = fixed_points(self.clouds.test, self.data.points, limit=limit)
        device = device_of(self.plan)
        last = self._test(self.model.to(device), points)
        metrics = last.as_metrics()
        if self.clouds.watch is not None and folder.best.exists():
            metrics = self._test(checkpoints.load(folder.best, device, expect=Classifier).model, points).as_metrics()
        if self.protocol == "legacy":
            metrics |= {"oa_last": last.oa, "macc_last": last.macc}
        return metrics

    def _test(self, model: Classifier, points: Tensor) -> ClassScores:
        test, training = self.clouds.test, model.training
        predicted = logits_of(model.eval(), points, self.data.batch_size).argmax(dim=1).numpy()
        model.train(training)
        return score(predicted, test.labels[: len(predicted)], test.classes)

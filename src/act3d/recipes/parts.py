"""Segmentation of parts: a label for every point of a shape, among the parts its category has."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.data.rooms import UNLABELLED
from act3d.data.views import PartClouds
from act3d.engine import processes
from act3d.engine.batches import open_split
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.engine.seeding import mix
from act3d.evaluation.parts import NUMBERS, predict_parts, score_parts
from act3d.evaluation.protocol import Splits, open_splits, protocol_name
from act3d.evaluation.segmentation import PartScores
from act3d.files import write_json
from act3d.models.segmenter import Segmenter
from act3d.recipes.common import best_or_last, checkpoint_meta, settle_channels
from act3d.recipes.segmenter import build_segmenter
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig


def open_parts(
    data: DataConfig, protocol: Protocol, select: Select, seed: int, test_split: str, leave_out: str
) -> Splits:
    """Open the shapes of a run by protocol; see `act3d.evaluation.protocol`. Only training points change."""

    def open_shapes(split: str, points_seed: int) -> CloudDataset:
        return PartClouds(open_split(data, points_seed, split), leave_out)

    return open_splits(open_shapes, data, protocol, select, seed, test_split)


class PartTraining(Recipe):
    """Trains `Segmenter` on parts by cross entropy over all points.

    Args:
        settings: `SegmentSettings`.
        model: the segmenter.
        clouds: training, validation (or None) and test shapes.
        start: where the encoder started from.
    """

    command = "segment"
    train_columns = ("loss", "train_accuracy")
    best_metric = "val_instance_miou"
    lower_is_better = False
    model: Segmenter

    def __init__(self, settings: Any, model: Segmenter, clouds: Splits, start: dict[str, Any]) -> None:
        super().__init__(settings, model, clouds.train)
        self.splits, self.protocol, self.start = clouds, settings.protocol, start
        self.votes = settings.segmenter.votes
        self.eval_columns = tuple(f"val_{name}" for name in NUMBERS) if clouds.validation is not None else ()
        data, train = self.data, clouds.train
        self.facts = {
            "task": "parts",
            "start": start,
            "transfer": settings.segmenter.transfer,
            "splits": {"train": data.split, "test": settings.test_split},
            "normalization": train.normalization,
            "clouds": {"train": len(train), "test": len(clouds.test)},
            "protocol_name": protocol_name(settings.protocol, settings.select),
            "augment": data.augment,
            "points": data.points,
        }
        self.meta = checkpoint_meta(train, self.command, self.seed, self.protocol)
        self.meta |= {"points": data.points, "start": start, "parts": train.parts, "class_parts": train.class_parts}

    @classmethod
    def build(cls, settings: Any, folder: RunFolder, resume: bool) -> "PartTraining":
        """Return the segmentation of parts at its beginning.

        Raises:
            InputError: data that cannot be used.
            CheckpointError: the checkpoint is missing, damaged, or does not fit.
        """
        leave_out = settings.segmenter.leave_out
        kept = folder.kept_start(resume)
        data = settle_channels(settings.data, settings.checkpoint, kept)
        clouds = open_parts(data, settings.protocol, settings.select, settings.seed, settings.test_split, leave_out)
        labels, categories = clouds.train.parts, clouds.train.classes
        model, start = build_segmenter(settings, labels, categories, kept, data.channels_beside)
        return cls(settings, model, clouds, start)

    def keep_inputs(self, folder: RunFolder) -> None:
        """Note where the encoder started from: a resumed run does not need its checkpoint again."""
        write_json(folder.start, self.start)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the cross entropy, and the percentage of points that are right."""
        logits, parts = self.model(points, batch["label"]), batch["parts"]
        loss = F.cross_entropy(logits.flatten(0, 1), parts.flatten(), ignore_index=UNLABELLED)
        labelled = parts != UNLABELLED
        right = ((logits.argmax(dim=2) == parts) & labelled).sum() / labelled.sum().clamp(min=1)
        return {"loss": loss, "train_accuracy": 100 * right}

    def use(self, points: Tensor, batch: dict[str, Tensor]) -> object:
        """Segment points (B, N, 3) of the batch's categories."""
        return self.model(points, batch["label"])

    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Return instance mIoU, class mIoU and accuracy on the validation shapes, all of the same weights."""
        clouds = self.splits.validation
        if clouds is None:
            return {}
        processes.share_buffers(self.model)
        rows = np.arange(len(clouds))[: limit * self.data.batch_size or None][processes.rank() :: processes.world()]
        found = list(predict_parts(self.model, clouds, rows, self.data.batch_size))
        scores = PartScores(clouds.classes, clouds.class_parts)
        for results in processes.gather_objects(found):
            for predicted, truth, category in results:
                scores.add(predicted, truth, category)
        numbers = scores.result()
        return {f"val_{name}": numbers[name] for name in NUMBERS}

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Test the chosen weights, plainly and with votes; under "legacy" the last weights as well."""
        limit, test, size = 1 if self.plan.fast_dev_run else 0, self.splits.test, self.data.batch_size
        model, chosen = best_or_last(self, folder)
        metrics = score_parts(model, test, size, self.votes, mix(0, self.votes), limit)
        if self.protocol == "legacy" and chosen == "best":
            last = score_parts(self.model.eval(), test, size, limit=limit)
            metrics |= {f"{name}_last": last[name] for name in NUMBERS}
        return metrics | {"weights": chosen}

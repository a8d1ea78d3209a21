"""What every method of pretraining shares: a linear SVM on frozen features that says how good they are."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from act3d.data.clouds import CloudDataset
from act3d.engine import processes
from act3d.engine.clouds import eval_batches
from act3d.engine.module import StageModule
from act3d.models.data_dependent_init import fit_student
from act3d.models.masking import block_mask, random_mask
from act3d.settings.training import DataConfig, MaskConfig, OptimConfig, TrainerConfig


class ProbeClouds(NamedTuple):
    """Labelled clouds that train a linear SVM on the student's features, and clouds that judge it."""

    train: CloudDataset
    test: CloudDataset
    batch_size: int


class ProbedModule(StageModule):
    """A stage whose model has `embed`.

    Args:
        model: points (B, N, 3) -> (B, 2C) by its `embed`; C is its `width`.
        probe: clouds for the linear probe, or None.
    """

    eval_columns = ("probe",)
    best_metric = "probe"
    lower_is_better = False
    model: Any

    def __init__(
        self,
        model: nn.Module,
        probe: ProbeClouds | None,
        data: DataConfig,
        optim: OptimConfig,
        trainer: TrainerConfig,
        seed: int,
    ) -> None:
        super().__init__(model, data, optim, trainer, seed)
        self.probe = probe

    def fit_start(self, points: Tensor) -> None:
        """Fit the student to clouds (B, N, 3)."""
        fit_student(self.model, self.model.patchify(points))

    def evaluate(self, limit: int = 0) -> dict[str, Any]:
        """Fit a linear SVM on frozen features; return its accuracy in percent as "probe"."""
        if self.probe is None:
            return {}
        from act3d.evaluation.probe import linear_probe

        processes.share_buffers(self.model)
        sets = [self.embed(clouds, self.probe.batch_size, limit) for clouds in (self.probe.train, self.probe.test)]
        # The SVM is small work: the first process does it, the others take its word.
        accuracy = 0.0
        if processes.rank() == 0:
            accuracy = linear_probe(*sets[0], *sets[1], seed=self.seed).accuracy
        return {"probe": processes.gather_objects(accuracy)[0]}

    @torch.no_grad()
    def embed(self, clouds: CloudDataset, batch_size: int, limit: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return features (S, 2C) and labels (S,) of all clouds that have a label, from all processes."""
        features, labels = [], []
        for batch in eval_batches(clouds, batch_size, limit):
            features.append(self.model.embed(batch["points"].to(self.device)).float().cpu().numpy())
            labels.append(batch["label"].numpy())
        width = 2 * self.model.width
        mine = (
            np.concatenate([np.zeros((0, width), np.float32), *features]),
            np.concatenate([np.zeros(0, int), *labels]),
        )
        parts = processes.gather_objects(mine)
        x, y = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        return x[y >= 0], y[y >= 0]


def draw_mask(centers: Tensor, hidden: int, mask: MaskConfig) -> Tensor:
    """A mask (B, G) over patches at centers (B, G, 3) that hides `hidden` of each cloud, as the config asks."""
    if mask.kind == "block":
        return block_mask(centers, hidden)
    return random_mask(centers.shape[0], centers.shape[1], hidden, centers.device)

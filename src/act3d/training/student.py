"""Stage II: the student learns to predict the teacher's features at patches it does not see (ACT, section 3.3)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from act3d import checkpoints
from act3d.config import DataConfig, LossConfig, MaskConfig, OptimConfig, TrainerConfig
from act3d.data.clouds import CloudDataset
from act3d.geometry import gather
from act3d.losses import build_loss
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import block_mask, hidden_count, random_mask
from act3d.models.student import Student
from act3d.training import parallel
from act3d.training.clouds import eval_batches
from act3d.training.module import StageModule
from act3d.training.run_folder import RunFolder
from act3d.training.state import Position


class ProbeClouds(NamedTuple):
    """Labelled clouds that train a linear SVM on the student's features, and clouds that judge it."""

    train: CloudDataset
    test: CloudDataset
    batch_size: int


class StudentModule(StageModule):
    """Trains `Student` against a frozen teacher.

    Args:
        model: the student.
        teacher: stage I's autoencoder. It is not part of this module's state.
        released_teacher: run the teacher in train mode, as the release does: dropout and batch statistics.
        probe: clouds for the linear probe, or None.
    """

    eval_columns = ("probe",)
    best_metric = "probe"
    lower_is_better = False
    model: Student

    def __init__(
        self,
        model: Student,
        teacher: Autoencoder,
        released_teacher: bool,
        mask: MaskConfig,
        loss: LossConfig,
        probe: ProbeClouds | None,
        data: DataConfig,
        optim: OptimConfig,
        trainer: TrainerConfig,
        seed: int,
    ) -> None:
        super().__init__(model, data, optim, trainer, seed)
        self.mask, self.probe = mask, probe
        self.hidden = hidden_count(model.patches, mask.ratio)
        self.criterion = build_loss(loss.kind)
        # In a list, so that it is no submodule: it is neither trained nor saved nor shared between processes.
        self._teacher = [teacher.requires_grad_(False).train(released_teacher)]
        self.released_teacher = released_teacher

    def on_fit_start(self) -> None:
        """Put the teacher where the student is."""
        self._teacher[0].to(self.device)

    def losses(self, points: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss for points (B, N, 3): cut once, seen whole by the teacher and in part by the student."""
        patches = self.model.patchify(points)
        with torch.no_grad():
            target = self._teacher[0].features(patches)  # (B, G, D)
        if self.mask.kind == "block":
            mask = block_mask(patches.centers, self.hidden)
        else:
            mask = random_mask(len(points), self.model.patches, self.hidden, points.device)
        output = self.model(patches, mask, self.hidden)
        target = gather(target, output.hidden)  # (B, H, D)
        loss = self.criterion(output.predicted, target)
        if output.predicted_cls is not None:
            loss = loss + self.criterion(output.predicted_cls, target)
        return {"loss": loss}

    def evaluate(self, limit: int = 0) -> dict[str, Any]:
        """Fit a linear SVM on frozen features; return its accuracy in percent as "probe"."""
        if self.probe is None:
            return {}
        from act3d.evaluation.probe import linear_probe

        parallel.share_buffers(self.model)
        sets = [self.embed(clouds, self.probe.batch_size, limit) for clouds in (self.probe.train, self.probe.test)]
        # The SVM is small work: the first process does it, the others take its word.
        accuracy = 0.0
        if parallel.rank() == 0:
            accuracy = linear_probe(*sets[0], *sets[1], seed=self.seed).accuracy
        return {"probe": parallel.gather_objects(accuracy)[0]}

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
        parts = parallel.gather_objects(mine)
        x, y = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        return x[y >= 0], y[y >= 0]

    def keep_inputs(self, folder: RunFolder) -> None:
        """Copy the teacher into the run folder: the run stays whole when stage I's folder is gone."""
        checkpoints.save(self._teacher[0], folder.teacher, getattr(self._teacher[0], "meta", None))

    def dump(self) -> dict[str, Any]:
        """Return the state; a teacher in train mode drifts, so its averages belong to it."""
        state = super().dump()
        if self.released_teacher:
            state["teacher_buffers"] = dict(self._teacher[0].named_buffers())
        return state

    def restore(self, state: Mapping[str, Any], position: Position, where: str) -> None:
        """Take up what `dump` gave."""
        super().restore(state, position, where)
        if self.released_teacher:
            self._teacher[0].load_state_dict(state.get("teacher_buffers", {}), strict=False)

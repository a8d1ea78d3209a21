"""Stage II: the student learns to predict the teacher's features at patches it does not see (ACT, section 3.3)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from act3d import checkpoints
from act3d.engine.run_folder import RunFolder
from act3d.engine.state import Position
from act3d.geometry import gather
from act3d.losses import build_loss
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import hidden_count
from act3d.models.student import Student
from act3d.recipes.pretraining import ProbeClouds, ProbedModule, draw_mask
from act3d.settings.training import DataConfig, LossConfig, MaskConfig, OptimConfig, TrainerConfig


class StudentModule(ProbedModule):
    """Trains `Student` against a frozen teacher.

    Args:
        model: the student.
        teacher: stage I's autoencoder. It is not part of this module's state.
        released_teacher: run the teacher in train mode, as the release does: dropout and batch statistics.
        probe: clouds for the linear probe, or None.
    """

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
        super().__init__(model, probe, data, optim, trainer, seed)
        self.mask = mask
        self.hidden = hidden_count(model.patches, mask.ratio)
        self.criterion = build_loss(loss.kind)
        # In a list, so that it is no submodule: it is neither trained nor saved nor shared between processes.
        self._teacher = [teacher.requires_grad_(False).train(released_teacher)]
        self.released_teacher = released_teacher
        self.teacher_meta: dict[str, Any] = {}  # facts of its checkpoint, for the copy in the run folder
        self._features = teacher.features

    def compile_parts(self) -> None:
        """Compile the student, and what the teacher does."""
        super().compile_parts()
        self._features = torch.compile(self._features)

    def on_fit_start(self) -> None:
        """Put the teacher where the student is."""
        self._teacher[0].to(self.device)

    def losses(self, points: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss for points (B, N, 3): cut once, seen whole by the teacher and in part by the student."""
        patches = self.model.patchify(points)
        with torch.no_grad():
            target = self._features(patches)  # (B, G, D)
        mask = draw_mask(patches.centers, self.hidden, self.mask)
        output = self.model(patches, mask, self.hidden)
        target = gather(target, output.hidden)  # (B, H, D)
        loss = self.criterion(output.predicted, target)
        if output.predicted_cls is not None:
            loss = loss + self.criterion(output.predicted_cls, target)
        return {"loss": loss}

    def keep_inputs(self, folder: RunFolder) -> None:
        """Copy the teacher into the run folder: the run stays whole when stage I's folder is gone."""
        checkpoints.save(self._teacher[0], folder.teacher, self.teacher_meta)

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

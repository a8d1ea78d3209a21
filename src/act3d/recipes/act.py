"""Stage II: the student learns to predict the teacher's features at patches it does not see (ACT, section 3.3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from act3d.data.transforms import augmentation
from act3d.data.views import Selection
from act3d.engine import processes
from act3d.engine.batches import Loader, train_loader
from act3d.geometry import Patches
from act3d.losses import build_loss
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import hidden_count
from act3d.models.student import Student
from act3d.recipes.pretraining import Pretraining, alignment_of, draw_mask, encoder_and_decoder
from act3d.recipes.teacher_cache import TeacherCache


class ActPretraining(Pretraining):
    """Trains `Student` against a frozen teacher. With `teacher.mode` "released" the teacher has dropout and batch
    statistics on, as in the release."""

    model: Student

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert self.teacher is not None
        self.hidden = hidden_count(self.model.patches, self.settings.mask.ratio)
        self.unused_parameters = self.hidden == 0  # then the decoder takes no part
        self.criterion = build_loss(self.settings.loss.kind)
        self.teacher_drifts = self.settings.teacher.mode == "released"
        self.teacher.model.train(self.teacher_drifts)
        self._features = self.teacher.model.features

    @staticmethod
    def build_model(settings: Any, teacher: Autoencoder | None) -> Student:
        """Return a student that cuts clouds as its teacher does."""
        assert teacher is not None
        student = settings.student
        return Student(
            patches=teacher.patches,
            patch_size=teacher.patch_size,
            **encoder_and_decoder(student),
            teacher_width=teacher.teacher_width,
            cls_loss=settings.loss.cls_loss,
            shallow_block=student.shallow_block,
            embed_visible_only=student.embed_visible_only,
            alignment=alignment_of(settings),
            channels=settings.data.channels_beside,
        )

    def compile_parts(self) -> None:
        """Compile the student, and what the teacher does."""
        super().compile_parts()
        self._features = torch.compile(self._features, mode=self.plan.compile_mode)

    def networks(self) -> list[nn.Module]:
        """Return the student, and a teacher whose statistics drift."""
        assert self.teacher is not None
        return [*super().networks(), *([self.teacher.model] if self.teacher_drifts else [])]

    def loader(self, device: torch.device, was: str = "", lanes: int = 0) -> Loader:
        """Return this process's batches; with `teacher.cache`, of views whose targets are there already."""
        wanted = self.settings.teacher
        if not wanted.cache:
            return super().loader(device, was, lanes)
        assert self.teacher is not None
        clouds, seen = self.clouds, self.plan.max_steps * self.plan.accumulate * self.data.batch_size
        if self.plan.fast_dev_run:  # no more than its two steps need
            clouds = Selection(clouds, np.arange(min(len(clouds), seen * processes.world())))
        root = Path(wanted.cache_dir or Path(self.settings.out) / "targets")
        teacher = self.teacher.model.to(device)
        targets = TeacherCache(root, teacher, clouds, wanted.views, self.data.augment, self.seed).open()
        self.augment = augmentation("none")  # views are augmented already
        return train_loader(targets, self.data, self.seed, processes.world(), device, was)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the loss for points (B, N, 3): cut once, seen whole by the teacher and in part by the student."""
        patches = self._patches(points, batch)
        with torch.no_grad():
            target = batch["targets"].float() if "targets" in batch else self._features(self._seen_by_teacher(patches))
        mask = draw_mask(patches.centers, self.hidden, self.settings.mask)
        output = self.model(patches, mask, self.hidden)
        return self.beside_names({"loss": self.model.loss(output, target, self.criterion)}, patches, batch)

    def use(self, points: Tensor, batch: dict[str, Tensor]) -> object:
        """Embed points: nothing is hidden."""
        return self.model.embed(self._patches(points, batch))

    def _seen_by_teacher(self, patches: Patches) -> Patches:
        """Patches without channels beside x, y and z, which the teacher does not know."""
        if not self.model.channels:
            return patches
        return patches._replace(neighborhoods=patches.neighborhoods[..., :3].contiguous())

    def _patches(self, points: Tensor, batch: dict[str, Tensor]) -> Patches:
        """Cut points (B, N, 3); those of a view (B, G, M, 3) are cut already."""
        if "targets" in batch:
            return Patches(points.float(), batch["centers"])
        patches: Patches = self.model.patchify(points)
        return patches

    def state(self) -> dict[str, Any]:
        """Return the batch statistics of a teacher in train mode: they drift, so they belong to the run."""
        assert self.teacher is not None
        drifts = {"teacher_buffers": dict(self.teacher.model.named_buffers())} if self.teacher_drifts else {}
        return super().state() | drifts

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        super().load_state(state)
        assert self.teacher is not None
        if self.teacher_drifts:
            self.teacher.model.load_state_dict(state.get("teacher_buffers", {}), strict=False)

"""Stage I: the autoencoder learns to rebuild patches from codes through the frozen Transformer (ACT, section 3.2)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from act3d.engine import processes
from act3d.engine.batches import Clouds, open_clouds
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.engine.schedules import kl_weight, temperature
from act3d.evaluation.protocol import protocol_of
from act3d.evaluation.reconstruction import SCORES, scores_of
from act3d.lines import say
from act3d.models.autoencoder import FEW_CODES, Autoencoder
from act3d.models.data_dependent_init import fit_autoencoder
from act3d.recipes.common import checkpoint_meta

PICTURED = 4  # clouds in a picture for TensorBoard


class AutoencoderTraining(Recipe):
    """Trains `Autoencoder`: Chamfer L1 of coarse and fine patches, and a KL term that keeps all codes in use.

    Args:
        settings: `AutoencodeSettings`.
        model: the autoencoder.
        clouds: training clouds, and those held out to validate on.
    """

    command = "autoencode"
    train_columns = ("loss", "reconstruction", "kl")
    eval_columns = (*(f"val_{name}" for name in SCORES), "val_codes")
    best_metric = "val_cd_l1"
    model: Autoencoder

    def __init__(self, settings: Any, model: Autoencoder, clouds: Clouds) -> None:
        super().__init__(settings, model, clouds.train)
        self.schedule, self.held_out = settings.schedule, clouds.held_out
        self._loss = model.loss
        self.codes: int | None = None  # in use at the last validation
        self.protocol = protocol_of(settings.data.val_split)
        self.meta = checkpoint_meta(clouds.train, self.command, self.seed, self.protocol)
        self.meta["teacher"] = settings.teacher.name

    @classmethod
    def build(cls, settings: Any) -> "AutoencoderTraining":
        """Return stage I at its beginning."""
        clouds = open_clouds(settings.data, settings.seed)
        teacher = settings.teacher
        torch.manual_seed(settings.seed)  # initial weights
        model = Autoencoder(
            **settings.autoencoder.model_dump(),
            teacher=None if teacher.name == "none" else teacher.name,
            prompts=teacher.prompts,
            deep_prompts=teacher.deep_prompts,
            prompt_dropout=teacher.prompt_dropout,
        )
        return cls(settings, model, clouds)

    def fit_start(self, points: Tensor) -> None:
        """Fit the autoencoder to clouds (B, N, 3), at the temperature it starts with."""
        fit_autoencoder(self.model, self.model.patchify(points), self.schedule.temperature_start)

    def compile_parts(self) -> None:
        """Compile the model, and its loss: a softmax over all codes."""
        super().compile_parts()
        self._loss = torch.compile(self._loss, mode=self.plan.compile_mode)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the loss and its two terms for points (B, N, 3)."""
        patches = self.model.patchify(points)
        # As a tensor: compiled code would be compiled anew for every other number.
        now = torch.full((), temperature(step, self.schedule), device=points.device)
        output = self.model(patches, now, noise_scale=self.schedule.noise)
        reconstruction, kl = self._loss(patches, output)
        loss = reconstruction + kl_weight(step, self.schedule) * kl
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def use(self, points: Tensor, batch: dict[str, Tensor]) -> object:
        """Rebuild points (B, N, 3) from arg-max codes."""
        return self.model.reconstruct(self.model.patchify(points))

    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Rebuild the held-out clouds from arg-max codes.

        Returns:
            Means over categories of the F-score at 0.01 and of Chamfer L1 and L2, both times 1000, between the whole
            rebuilt cloud and the input; "val_codes", how many codes the clouds' patches use; and "categories", the
            scores of each.
        """
        if self.held_out is None:
            return {}
        processes.share_buffers(self.model)
        classes = [*self.held_out.classes, "unlabelled"]
        sums = torch.zeros(len(classes), 1 + len(SCORES), dtype=torch.float64)
        used = torch.zeros(self.model.codes, device=self.device)
        for batch in self.batches_of(self.held_out, self.data.batch_size, limit):
            points = batch["points"]
            with torch.no_grad():
                patches = self.model.patchify(points)
                tokens = self.model.tokens(patches)
                used[tokens.unique()] = 1
                scores = scores_of(self.model.rebuild(tokens, patches.centers), points)  # (B, 3)
            row = torch.cat([torch.ones_like(scores[:, :1]), scores], dim=1).cpu().double()  # MPS has no float64
            label = batch["label"]
            sums.index_add_(0, torch.where(label < 0, len(classes) - 1, label), row)
        sums = sum(processes.gather_objects(sums), torch.zeros_like(sums))
        self.codes = int((processes.sum_over_processes(used) > 0).sum())
        return {**summarise(sums, classes), "val_codes": self.codes}

    @torch.no_grad()
    def pictures(self) -> dict[str, np.ndarray]:
        """Return held-out clouds beside their reconstructions, with F-score and Chamfer L1 below."""
        if self.held_out is None:
            return {}
        from act3d.report.cloud_picture import view_bounds
        from act3d.report.figure import Figure, Panel, figure_image

        points = self.held_out.fetch(list(range(min(PICTURED, len(self.held_out)))), 0)["points"].to(self.device)
        rebuilt = self.model.reconstruct(self.model.patchify(points))
        scores = scores_of(rebuilt, points)
        inputs, outputs = [], []
        for cloud, made, (f, l1, _) in zip(points.cpu().numpy(), rebuilt.points.float().cpu(), scores, strict=True):
            inputs.append(Panel(cloud, "input"))
            note = f"F {float(f):.3f} · CD-L1 {float(l1):.1f}"
            outputs.append(Panel(made.numpy(), "reconstruction", note, bounds=view_bounds(cloud)))
        return {"reconstructions": figure_image(Figure("Reconstructions", [inputs, outputs]))}

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Warn of a codebook that is hardly used."""
        if self.codes is not None and self.codes < FEW_CODES and not self.plan.fast_dev_run:
            say(
                f"warning: the held-out shapes use {self.codes} of {self.model.codes} codes: this teacher has learned "
                "next to nothing; train for more steps (--trainer.min_steps, or more shapes)",
                error=True,
            )
        return {}


def summarise(sums: Tensor, classes: list[str]) -> dict[str, Any]:
    """Return means per category and their mean, from sums (classes, 1 + scores) whose first column counts clouds."""
    present = [i for i in range(len(classes)) if sums[i, 0] > 0]
    means = {classes[i]: (sums[i, 1:] / sums[i, 0]).tolist() for i in present}
    categories = {
        name: {"clouds": int(sums[i, 0]), **dict(zip(SCORES, means[name], strict=True))}
        for i, name in ((i, classes[i]) for i in present)
    }
    overall = {f"val_{score}": sum(means[name][k] for name in means) / len(means) for k, score in enumerate(SCORES)}
    return {**overall, "categories": categories}

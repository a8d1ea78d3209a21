"""One few-shot task: a handful of shapes, so a plain loop with everything on the device.

A fold takes seconds to minutes: it is repeated from its start when it was interrupted, not resumed inside.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from act3d.data.fewshot import Fold
from act3d.data.transforms import augmentation
from act3d.data.views import draw_random, fixed_points, widened
from act3d.engine.module import NonFiniteLoss
from act3d.engine.optimizer import build_optimizer
from act3d.engine.schedules import learning_rate
from act3d.engine.seeding import reseed
from act3d.errors import InputError
from act3d.evaluation.classification import ClassScores, logits_of, score
from act3d.models.classifier import Classifier
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def train_fold(
    model: Classifier,
    task: Fold,
    data: DataConfig,
    optim: OptimConfig,
    trainer: TrainerConfig,
    label_smoothing: float,
    seed: int,
    watch: bool,
    device: torch.device,
) -> tuple[ClassScores, ClassScores]:
    """Train a classifier on a task and test it.

    The farthest points that training draws from are found once; each step draws from them anew.

    Args:
        model: A classifier of as many classes as the task has.
        task: Training and test clouds, with all their stored points.
        data: Points, batch size, augmentation.
        optim, trainer: Learning rate, clipping, epochs, precision.
        label_smoothing: Share of every label that is spread over all classes.
        seed: Of order, choice of points, augmentation, dropout.
        watch: Test after every epoch (the legacy protocol).
        device: Where to train.

    Returns:
        Scores after the last epoch, and those of the best epoch (the same unless watched).

    Raises:
        InputError: the clouds store too few points.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    if task.train.points < data.points:
        raise InputError(f"data.points: {data.points} asked for; {task.train.name} stores {task.train.points} a cloud")
    stored = fixed_points(task.train, widened(data.points, task.train.points)).to(device)
    labels = torch.from_numpy(task.train.labels).to(device)
    judged = fixed_points(task.test, data.points)
    model.to(device)
    stepper = _Stepper(model, data, optim, trainer, label_smoothing)
    best = None
    for epoch in range(trainer.epochs):
        model.train()
        stepper.rate(epoch)
        reseed(seed, epoch)
        order = torch.randperm(len(labels)).to(device)
        for batch in _batches(order, data.batch_size):
            stepper.step(stored[batch], labels[batch])
        if watch:
            scores = _test(model, judged, task, data.batch_size)
            best = scores if best is None or scores.oa > best.oa else best
    last = _test(model, judged, task, data.batch_size)
    return last, best or last


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of an epoch; a single cloud at the end joins the batch before (batch statistics need two)."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


class _Stepper:
    """The optimizer, its schedule and its arithmetic."""

    def __init__(
        self, model: Classifier, data: DataConfig, optim: OptimConfig, trainer: TrainerConfig, label_smoothing: float
    ) -> None:
        self.model, self.data, self.optim, self.trainer = model, data, optim, trainer
        self.label_smoothing = label_smoothing
        self.augment = augmentation(data.augment)
        self.optimizer = build_optimizer(model, optim)
        self.device = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(self.device, enabled=trainer.precision == "fp16")

    def rate(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(epoch, self.trainer.epochs, self.optim)

    def step(self, points: Tensor, labels: Tensor) -> None:
        points = self.augment(draw_random(points, self.data.points))
        dtype = _DTYPES.get(self.trainer.precision)
        with torch.autocast(self.device, dtype, enabled=dtype is not None):
            loss = F.cross_entropy(self.model(points), labels, label_smoothing=self.label_smoothing)
        if not bool(torch.isfinite(loss)):
            raise NonFiniteLoss(f"the loss is {float(loss)}; try a smaller optim.lr")
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.optim.clip:
            self.scaler.unscale_(self.optimizer)
            trained = [p for p in self.model.parameters() if p.requires_grad]
            torch.nn.utils.clip_grad_norm_(trained, self.optim.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def _test(model: Classifier, points: Tensor, task: Fold, batch_size: int) -> ClassScores:
    predicted = logits_of(model.eval(), points, batch_size).argmax(dim=1).numpy()
    return score(predicted, task.test.labels, task.test.classes)

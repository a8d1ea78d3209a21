"""The interface of all recipes, which the loop trains."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from act3d.data.clouds import CloudDataset
from act3d.data.transforms import augmentation, drop_channels
from act3d.engine import processes
from act3d.engine.batches import EvaluationBatches, Loader, train_loader
from act3d.engine.run_folder import RunFolder
from act3d.settings.training import TrainerConfig


class Recipe:
    """One kind of training. A subclass says what is built, and implements `losses`, `validate` and `test`.

    The loop (`act3d.engine.loop.train`) calls `fit_start` once before the first step of a new run, `losses` every
    batch, `validate` every `trainer.validate_every` epochs, and `conclude` and `test` once, after the last step.

    Args:
        settings: the command's settings; `data`, `optim`, `trainer` and `seed` are read here and by the loop.
        model: the model to train, with its initial weights.
        clouds: training clouds.

    Attributes:
        device: where the model computes, once training has begun.
        meta: facts for native checkpoints.
        facts: entries of results.json that only this kind of training has.
    """

    command: str = ""  # for messages and results.json
    protocol: str = "standard"  # "legacy" when the best weights are selected on a test set
    train_columns: tuple[str, ...] = ("loss",)
    eval_columns: tuple[str, ...] = ()
    best_metric: str = ""  # name of the validation result by which the best weights are selected
    lower_is_better: bool = True
    model: Any
    unused_parameters: bool = False  # some parameters take no part in a step, which several processes must be told

    def __init__(self, settings: Any, model: nn.Module, clouds: CloudDataset) -> None:
        self.settings, self.model, self.clouds = settings, model, clouds
        self.data, self.optim, self.plan, self.seed = (
            settings.data, settings.optim, shortened(settings.trainer), settings.seed,
        )  # fmt: skip
        self.evaluated = EvaluationBatches(self.data.resident)
        self.augment = self._augmentation(clouds.channels)
        self.device = torch.device("cpu")
        self.meta: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}

    def _augmentation(self, channels: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """What training points go through: the augmentation; channels are dropped at random, so that a model works
        without them."""
        augment = augmentation(self.data.augment, channels)
        if not channels:
            return augment
        return lambda points: drop_channels(augment(points), channels, self.data.channel_drop)

    # ------------------------------------------------------------------ what a subclass says

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return scalars to log for augmented points (B, N, 3); "loss" is the one that is minimised.

        `batch` is what the loader gave, for labels: its "points" are neither drawn nor augmented. `step` counts
        optimizer steps from 0.
        """
        raise NotImplementedError

    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Return validation results by their name in `eval_columns`; further keys go into results.json only.

        `limit`: at most so many batches; 0 = all.
        """
        return {}

    def conclude(self, folder: RunFolder | None) -> None:
        """Do what is left to do with the trained model, with all processes; its weights are written after it."""

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Return what is measured once, after the last step, such as the test set's numbers.

        Called in the first process, before results.json is written; the folder holds the final weights.
        """
        return {}

    # ------------------------------------------------------------------ what helps it

    def batches_of(self, clouds: CloudDataset, batch_size: int, limit: int = 0) -> Iterator[dict[str, Tensor]]:
        """Yield this process's share of clouds to evaluate on, always with the same points, which are on the device."""
        return self.evaluated.of(clouds, batch_size, limit, self.device)

    @torch.no_grad()
    def vectors_of(
        self, clouds: CloudDataset, vectors: Callable[[Tensor], Tensor], batch_size: int, limit: int = 0
    ) -> tuple[Tensor, np.ndarray]:
        """Return what `vectors` makes of points (B, N, 3) for all clouds: (S, F) and their rows (S,), in their order.

        Each process does its share, and has all; `limit`: at most so many batches of each.
        """
        batches = self.batches_of(clouds, batch_size, limit)
        mine = [(vectors(batch["points"]).float().cpu(), batch["index"].numpy()) for batch in batches]
        every = [part for parts in processes.gather_objects(mine) for part in parts]
        rows = np.concatenate([part[1] for part in every])
        order = rows.argsort(kind="stable")  # that of the dataset, whoever embedded a cloud
        return torch.cat([part[0] for part in every])[order], rows[order]

    # ------------------------------------------------------------------ what a subclass may say

    def loader(self, device: torch.device, was: str = "", lanes: int = 0) -> Loader:
        """Return this process's batches; of a resumed run `was` says where its clouds lived, `lanes` how many processes
        it began with."""
        return train_loader(self.clouds, self.data, self.seed, processes.world(), device, was, lanes)

    def draw(self, points: Tensor) -> Tensor:
        """Return the points (B, N, 3) of stored clouds that this step sees; all of them unless a recipe draws some."""
        return points

    def fit_start(self, points: Tensor) -> None:
        """Fit weights that have not been trained to clouds (B, N, 3); see `act3d.models.data_dependent_init`."""
        raise NotImplementedError

    def use(self, points: Tensor, batch: dict[str, Tensor]) -> object:
        """Run the model on points (B, N, 3) as it runs after training: its batch statistics may be taken from this."""
        return self.model(self.model.patchify(points))

    def pictures(self) -> dict[str, np.ndarray]:
        """Return pictures (H, W, 3) uint8 of what the model does now, by name, for TensorBoard and the like.

        Called in the first process, with the model in eval mode, after some validations. Nothing may be drawn from
        torch's generators, or a run would depend on its loggers.
        """
        return {}

    def compile_parts(self) -> None:
        """Hand what a step computes to torch.compile (`trainer.compile`)."""
        self.model.compile(mode=self.plan.compile_mode)

    def networks(self) -> list[nn.Module]:
        """Return the networks whose batch statistics move in training: the model, and what else learns beside it."""
        return [self.model]

    def to(self, device: torch.device) -> None:
        """Put what takes part in a step, besides the model, where the model is."""
        self.device = device

    def keep_inputs(self, folder: RunFolder) -> None:
        """Copy into the run folder what a resumed run would miss if it vanished elsewhere."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the model and the optimizer."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave, before training starts."""


def shortened(plan: TrainerConfig) -> TrainerConfig:
    """Return the plan, cut to two steps of one epoch if it asks for a fast run."""
    short = {"epochs": 1, "min_steps": 0, "step_ceiling": 0, "max_steps": 2, "log_every": 1}
    return plan.model_copy(update=short) if plan.fast_dev_run else plan

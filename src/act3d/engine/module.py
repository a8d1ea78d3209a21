"""What both stages share: a LightningModule whose every step is a function of its position in the run."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from act3d.checkpoints import load_stored_state, stored_state
from act3d.data.transforms import augmentation
from act3d.engine import processes
from act3d.engine.clouds import Loader, Remaining
from act3d.engine.optimizer import build_optimizer
from act3d.engine.run_folder import RunFolder
from act3d.engine.schedules import learning_rate
from act3d.engine.seeding import reseed
from act3d.engine.state import Position
from act3d.errors import Act3dError
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig


class NonFiniteLoss(Act3dError):
    """The loss became infinite or not a number."""


class StageModule(lightning.LightningModule):
    """One stage of training: augmentation, schedules, optimizer and sums of what is logged.

    A subclass implements `losses` (one step) and `evaluate` (validation). The run's position lives here and not in
    Lightning's loops: Lightning sees every session as a fresh run over the epochs that are left, the first of which
    may be short. So a resumed run needs nothing from Lightning's private state.

    Attributes:
        position: where the run stands; moved on by `RunKeeper`.
        loader: this process's batches.
        names: names of the training clouds, to say which batch went wrong.
        facts: entries of results.json that only this stage has.
    """

    train_columns: tuple[str, ...] = ("loss",)
    eval_columns: tuple[str, ...] = ()
    # Name of the validation result that says which weights are best, and whether lower is.
    best_metric: str = ""
    lower_is_better: bool = True

    loader: Loader
    names: list[str]

    def __init__(
        self, model: nn.Module, data: DataConfig, optim: OptimConfig, trainer: TrainerConfig, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.data, self.optim, self.plan, self.seed = data, optim, trainer, seed
        self.augment: Callable[[Tensor], Tensor] = augmentation(data.augment)
        self.position = Position()
        self.optimizer_state: dict[str, Any] | None = None
        self.facts: dict[str, Any] = {}
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []

    # ------------------------------------------------------------------ where the run stands

    @property
    def batches(self) -> int:
        """Batches of this process in an epoch."""
        return len(self.loader)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last one may have fewer batches to accumulate."""
        return -(-self.batches // self.plan.accumulate)

    @property
    def step(self) -> int:
        """Optimizer steps behind us."""
        whole = self.position.batch == self.batches
        done = self.steps_per_epoch if whole else self.position.batch // self.plan.accumulate
        return self.position.epoch * self.steps_per_epoch + done

    @property
    def at_step(self) -> bool:
        """Whether the last batch ended an optimizer step, so that no gradient is left over."""
        return self.position.batch % self.plan.accumulate == 0 or self.position.batch == self.batches

    def train_dataloader(self) -> Remaining:
        """Return what is left of the current epoch; Lightning asks anew every epoch."""
        return Remaining(self.loader, self.position.epoch, self.position.batch)

    # ------------------------------------------------------------------ one step

    def fit_start(self, points: Tensor) -> None:
        """Fit weights that have not been trained to clouds (B, N, 3); see `act3d.models.data_dependent_init`."""
        raise NotImplementedError

    def compile_parts(self) -> None:
        """Hand what a step computes to torch.compile (`trainer.compile`)."""
        self.model.compile()

    def draw(self, points: Tensor) -> Tensor:
        """Return the points (B, N, 3) of stored clouds that this step sees; all of them unless a stage draws some."""
        return points

    def losses(self, points: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return scalars to log for augmented points (B, N, 3); "loss" is the one that is minimised.

        `batch` is what the loader gave, for labels: its "points" are neither drawn nor augmented.
        """
        raise NotImplementedError

    def evaluate(self, limit: int = 0) -> dict[str, Any]:
        """Return validation results by their name in `eval_columns`; further keys go into results.json only."""
        raise NotImplementedError

    def conclude(self, folder: RunFolder) -> dict[str, Any]:
        """Return what is measured once, after the last step and the final weights, such as the test set's numbers.

        Called in the first process, before results.json is written.
        """
        return {}

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Set the learning rate of this step."""
        at = self.position.epoch + (self.step % self.steps_per_epoch) / self.steps_per_epoch
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(at, self.plan.epochs, self.optim)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        # Augmentation, masks, dropout and Gumbel noise draw from a seed of this step's own: a resumed run repeats them.
        reseed(self.seed, self.position.epoch * self.batches + self.position.batch, processes.rank())
        values = self.losses(self.augment(self.draw(batch["points"])), batch)
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        self._unchecked.append((self.step, values["loss"].detach(), batch["index"]))
        return values["loss"]

    # ------------------------------------------------------------------ what went on

    @property
    def current_lr(self) -> float:
        """The learning rate of the last step."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def take_means(self) -> dict[str, float]:
        """Return the mean of every logged number since the last call, over all processes, and start anew."""
        if not self._count:
            return {}
        means = torch.stack(list(self._sums.values())) / self._count
        numbers = (processes.sum_over_processes(means) / processes.world()).tolist()
        names, self._sums, self._count = list(self._sums), {}, 0
        return dict(zip(names, numbers, strict=True))

    def check_finite(self) -> None:
        """Look at the losses since the last call, in all processes.

        Raises:
            NonFiniteLoss: names the step and the batch's clouds.
        """
        if not self._unchecked:
            return
        finite = torch.isfinite(torch.stack([loss for _, loss, _ in self._unchecked]))
        problem = ""
        if not bool(finite.all()):
            step, loss, index = self._unchecked[int((~finite).nonzero()[0, 0])]
            names = [self.names[i] for i in index.tolist()]
            shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            problem = f"the loss is {float(loss)} at step {step + 1}; the batch holds {shown}"
        self._unchecked.clear()
        problem = (
            next((text for text in processes.gather_objects(problem) if text), "") if processes.active() else problem
        )
        if problem:
            raise NonFiniteLoss(problem)

    # ------------------------------------------------------------------ optimizer, saving and loading

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build AdamW, with the state of the run that is resumed."""
        optimizer = build_optimizer(self.model, self.optim)
        if self.optimizer_state is not None:
            fresh = [group["weight_decay"] for group in optimizer.param_groups]
            optimizer.load_state_dict(self.optimizer_state)
            for group, decay in zip(optimizer.param_groups, fresh, strict=True):
                group["weight_decay"] = decay  # a setting changed on resume counts
            self.optimizer_state = None
        return optimizer

    def keep_inputs(self, folder: RunFolder) -> None:
        """Copy into the run folder what a resumed run would miss if it vanished elsewhere."""

    def dump(self) -> dict[str, Any]:
        """Return all that a resumed run needs besides its config and position."""
        return {
            "model": stored_state(self.model),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "sums": dict(self._sums),
            "count": self._count,
            "lives_on": self.loader.lives_on,
        }

    def restore(self, state: Mapping[str, Any], position: Position, where: str) -> None:
        """Take up what `dump` gave, before training starts."""
        load_stored_state(self.model, state["model"], where)
        self.optimizer_state = state["optimizer"]
        self._sums, self._count, self.position = dict(state["sums"]), state["count"], position

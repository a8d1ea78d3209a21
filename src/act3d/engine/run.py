"""A run under way: the machine it computes on, where it stands, and what it writes."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from act3d import checkpoints
from act3d.data.views import spread_points
from act3d.engine import processes
from act3d.engine.batch_norm import estimate_statistics, unsettled
from act3d.engine.clock import Clock
from act3d.engine.log import MetricsLog
from act3d.engine.machine import launch
from act3d.engine.optimizer import build_optimizer, load_optimizer
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.engine.seeding import reseed
from act3d.engine.signals import Interrupted, Signals
from act3d.engine.state import Position, all_finite, read_state, write_state
from act3d.engine.tally import NonFiniteLoss, Tally
from act3d.errors import Act3dError, InputError
from act3d.progress import Progress, duration_text
from act3d.settings.model import to_dict


class Step(nn.Module):
    """What Fabric wraps: precision and the exchange of gradients happen around `compute`. Points are not cast."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return what `compute` returns."""
        return compute()


class Run:
    """Prepares a training and keeps it; the loop says when.

    Args:
        recipe: what is trained, at its beginning.
        folder: where the run lives; None = nothing is written and nothing is said.
        resume: go on from the folder's `checkpoints/last.ckpt`.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder | None, resume: bool) -> None:
        self.recipe, self.folder, self.plan = recipe, folder, recipe.plan
        self.fabric = launch(self.plan, recipe.unused_parameters)
        self.first = self.fabric.is_global_zero
        self.results: dict[str, Any] = {}
        self._shown, self._settled_at = "", -1
        self._open = ExitStack()
        try:
            self._begin(resume)
        except BaseException:
            self._open.close()
            raise

    def _begin(self, resume: bool) -> None:
        recipe, folder = self.recipe, self.folder
        if folder is not None:
            self._lock(folder, resume)
        resumed = resume and folder is not None and folder.holds_state
        state, self.position = read_state(folder.state) if resumed and folder else ({}, Position())
        was = state.get("lives_on", "host") if state else ""  # runs of before this was kept read on the host
        self.loader = recipe.loader(self.fabric.device, was)
        changes = self._continue(state) if state else []
        if state:
            checkpoints.load_stored_state(recipe.model, state["model"], str(folder and folder.state))
            recipe.load_state(state)
            self.results = dict(state["results"])
        elif self.plan.fit_start:
            torch.manual_seed(recipe.seed)  # every process fits the same weights
            recipe.fit_start(recipe.draw(spread_points(recipe.clouds, self.plan.fit_start)))
        if folder is not None and self.first:
            folder.begin(recipe.settings, recipe.command)
            if not resume:
                recipe.keep_inputs(folder)
        self._to_device(state)
        self.log = self._open_log()
        done = self.position.epoch * len(self.loader) + self.position.batch
        self.progress = Progress(self._total_batches(), done, enabled=self.first and folder is not None)
        self._say_start(was, changes)
        self.clock = Clock(self.position)

    def _lock(self, folder: RunFolder, resume: bool) -> None:
        """Take the folder, in the first process; all processes learn whether that is possible."""
        problem: Act3dError | None = None
        if self.first:
            try:
                self._open.enter_context(folder.locked())
                folder.check(resume)  # again: another command may just have ended here
            except Act3dError as error:
                problem = error
        if problem := processes.gather_objects(problem)[0]:
            raise problem

    def _continue(self, state: dict[str, Any]) -> list[str]:
        """Compare a resumed run with what it was: other data are refused, other settings are returned in words."""
        then, now = state.get("run", {}), self._described()
        for name, what in (("fingerprint", "data"), ("classes", "class names")):
            if name in then and then[name] != now[name]:
                raise InputError(
                    f"resume: the run has other {what}: {then['data']} ({then[name]}) when it began, "
                    f"{now['data']} ({now[name]}) now; give what it was trained on, or begin another by --out"
                )
        # Batches behind us are counted in clouds: another size of batches leaves their number behind in the epoch.
        kept = ("batch_size", "accumulate", "processes")
        if then and any(then[name] != now[name] for name in kept):
            clouds = self.position.batch * then["batch_size"] * then["processes"]
            batches = min(clouds // (now["batch_size"] * now["processes"]), len(self.loader))
            self.position.batch = batches // self.plan.accumulate * self.plan.accumulate
        return [
            f"{name} was {then[name]}, now it is {now[name]}"
            for name in ("seed", *kept, "clouds")
            if name in then and then[name] != now[name]
        ]

    def _described(self) -> dict[str, Any]:
        """What a resumed run is compared with."""
        clouds, recipe = self.recipe.clouds, self.recipe
        return {
            "data": clouds.name,
            "fingerprint": clouds.fingerprint,
            "classes": list(clouds.classes),
            "clouds": len(clouds),
            "seed": recipe.seed,
            "batch_size": recipe.data.batch_size,
            "accumulate": self.plan.accumulate,
            "processes": self.fabric.world_size,
        }

    def _to_device(self, state: dict[str, Any]) -> None:
        recipe, device = self.recipe, self.fabric.device
        if self.plan.sync_batchnorm and self.fabric.world_size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(recipe.model)
        recipe.model.to(device)
        recipe.to(device)
        self.tally = Tally(recipe.clouds.names)
        self._optimizer = build_optimizer(recipe.model, recipe.optim, fused=self.plan.precision != "fp16")
        if state:
            load_optimizer(self._optimizer, state["optimizer"])
            self.tally.load_state(state, device)
            if state["scaler"] is not None:
                self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self.model, self.optimizer = self.fabric.setup(Step(recipe.model), self._optimizer)

    def _open_log(self) -> MetricsLog | None:
        if self.folder is None or not self.first:
            return None
        columns = [*self.recipe.train_columns, "lr", "clouds_per_s", *self.recipe.eval_columns]
        return MetricsLog(self.folder.path, columns, self.position.rows, self.step)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.clear()
        if self.log:
            self.log.close()
        self._open.close()

    # ------------------------------------------------------------------ where the run stands

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last one may have fewer batches to accumulate."""
        return -(-len(self.loader) // self.plan.accumulate)

    @property
    def step(self) -> int:
        """Optimizer steps behind us."""
        whole = self.position.batch == len(self.loader)
        done = self.steps_per_epoch if whole else self.position.batch // self.plan.accumulate
        return self.position.epoch * self.steps_per_epoch + done

    @property
    def epochs_behind(self) -> float:
        """Epochs behind us, with the fraction of the current one."""
        return self.position.epoch + (self.step % self.steps_per_epoch) / self.steps_per_epoch

    @property
    def at_max_steps(self) -> bool:
        """Whether the run has as many steps as it may have."""
        return bool(self.plan.max_steps) and self.step >= self.plan.max_steps

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.position.epoch >= self.plan.epochs or self.at_max_steps

    @property
    def validation_is_due(self) -> bool:
        """Whether to validate at the end of this epoch."""
        every = self.plan.validate_every
        return every > 0 and (self.done or self.position.epoch % every == 0)

    def _total_batches(self) -> int:
        total = self.plan.epochs * len(self.loader)
        return min(total, self.plan.max_steps * self.plan.accumulate) if self.plan.max_steps else total

    def count_batch(self, clouds: int) -> None:
        """Count a batch of so many clouds of this process."""
        self.position.batch += 1
        self.clock.add(clouds * self.fabric.world_size)
        self.progress.advance(f"epoch {self.position.epoch + 1}/{self.plan.epochs}  step {self.step}  {self._shown}")

    def end_epoch(self) -> None:
        """Move on to the next epoch, unless `max_steps` cut this one short."""
        if self.position.batch == len(self.loader):
            self.position.epoch, self.position.batch = self.position.epoch + 1, 0

    # ------------------------------------------------------------------ saying and logging

    def say(self, text: str) -> None:
        """Print a line that stays, in the first process."""
        self.progress.say(text)

    def _say_start(self, was: str, changes: list[str]) -> None:
        if self.folder is None:
            return
        name, clouds, place = self.recipe.command, self.recipe.clouds, self.loader.place
        self.say(
            f"{name}: {len(clouds)} clouds of {clouds.name} ({place}), {self.plan.epochs} epochs of "
            f"{self.steps_per_epoch} steps, from step {self.step}, into {self.folder.path}"
        )
        if was not in ("", self.loader.lives_on):
            now = self.loader.lives_on
            changes = [*changes, f"clouds were on {was}, now on {now}: other random points are drawn from here"]
        for change in changes:
            self.say(f"{name}: {change}")

    def check_finite(self) -> None:
        """Look at the losses since the last look.

        Raises:
            NonFiniteLoss: names the step, the batch's clouds and the last good checkpoint.
        """
        try:
            self.tally.check_finite()
        except NonFiniteLoss as error:
            raise NonFiniteLoss(f"{error}; {self._last_good()}") from None

    def _last_good(self) -> str:
        if self.folder is None:
            return "try a smaller optim.lr"
        path = self.folder.state
        return f"last good checkpoint: {path}" if path.exists() else "no checkpoint had been written yet"

    def log_means(self) -> None:
        """Write a row with the means since the last one."""
        means, speed = self.tally.take_means(), self.clock.speed()
        self._shown = f"loss {means.get('loss', float('nan')):.4f}  {speed:.0f} clouds/s"
        rate = float(self._optimizer.param_groups[0]["lr"])
        self._write_row({**means, "lr": rate, "clouds_per_s": speed})

    def _write_row(self, values: dict[str, float]) -> None:
        if self.log:
            self.log.write(self.step, self.position.epoch, values)
            self.position.rows = self.log.rows

    # ------------------------------------------------------------------ validating

    def settle(self) -> None:
        """Average batch statistics over the training clouds, where a run is too short for running averages.

        Under "legacy" this is left out, as in the releases.
        """
        recipe, plan = self.recipe, self.plan
        steps = plan.epochs * self.steps_per_epoch
        steps = min(steps, plan.max_steps) if plan.max_steps else steps
        if recipe.protocol == "legacy" or self._settled_at == self.step or not unsettled(recipe.model, steps):
            return
        if "batch_norm" not in recipe.facts and self.folder is not None:
            self.say(f"{recipe.command}: batch statistics are averaged over the training clouds: {steps} steps are few")
        recipe.facts["batch_norm"] = (
            f"averaged over the training clouds; {steps} steps are too few for running averages"
        )
        self._settled_at = self.step
        reseed(recipe.seed, self.step, self.fabric.global_rank)
        self.loader.set_epoch(self.position.epoch)
        self.loader.start_at(0)
        batches = map(self.fabric.to_device, islice(self.loader, 1 if plan.fast_dev_run else None))
        estimate_statistics(
            recipe.model,
            (partial(recipe.use, recipe.augment(recipe.draw(batch["points"])), batch) for batch in batches),
        )

    def validate(self) -> None:
        """Evaluate, log, and keep the weights if they are the best so far."""
        model, position, began = self.recipe.model, self.position, time.monotonic()
        with self.clock.paused():
            self.settle()
            training = model.training
            model.eval()
            try:
                self.results = self.recipe.validate(limit=1 if self.plan.fast_dev_run else 0)
            finally:
                model.train(training)
            position.pending = False
            columns = self.recipe.eval_columns
            numbers = {name: float(value) for name, value in self.results.items() if name in columns}
            if not numbers:
                return
            self._write_row(numbers)
            self._keep_best(numbers[self.recipe.best_metric])
            shown = "  ".join(f"{name.removeprefix('val_')} {value:.4g}" for name, value in numbers.items())
            when = f"step {self.step}" if position.batch else f"epoch {position.epoch}"
            self.say(f"after {when}: {shown}  ({duration_text(time.monotonic() - began)})")
            self.progress.pause(time.monotonic() - began)

    def _keep_best(self, value: float) -> None:
        recipe, best = self.recipe, self.position.best
        if best is not None and not (value < best if recipe.lower_is_better else value > best):
            return
        self.position.best = value
        if self.first and self.folder is not None:
            checkpoints.save(recipe.model, self.folder.best, {**self.meta, recipe.best_metric: value})

    @property
    def meta(self) -> dict[str, Any]:
        """Facts that go into native checkpoints."""
        return {**self.recipe.meta, "settings": to_dict(self.recipe.settings)}

    # ------------------------------------------------------------------ saving and stopping

    def saving_is_due(self, asks: bool) -> bool:
        """Tell whether to save in the middle of an epoch; where it is by time, the first process's clock counts."""
        plan = self.plan
        if plan.save_every_steps and self.step % plan.save_every_steps == 0:
            return True
        if not plan.save_every_minutes or not asks:
            return False
        late = time.monotonic() - self.clock.saved_at >= 60 * plan.save_every_minutes
        return bool(processes.gather_objects(late)[0])

    def save(self) -> None:
        """Write last.ckpt, from the first process; weights that are not finite never replace good ones.

        Raises:
            NonFiniteLoss: weights are not finite.
        """
        if self.folder is None:
            return
        with self.clock.paused():
            self.clock.saved_at = time.monotonic()
            if not all_finite(self.recipe.model):
                raise NonFiniteLoss(f"weights are not finite after step {self.step}; {self._last_good()}")
            sums = self.tally.state()  # of every process
            if not self.first:
                return
            state = {
                "model": checkpoints.stored_state(self.recipe.model),
                "optimizer": self._optimizer.state_dict(),
                **sums,
                "lives_on": self.loader.lives_on,
                "run": self._described(),
                "results": self.results,
                "scaler": self.fabric.strategy.precision.state_dict() or None,
                **self.recipe.state(),
            }
            write_state(self.folder.state, state, self.position)

    def signal(self, signals: Signals) -> int:
        """Return the number of a signal that came, to any process; 0 if none did."""
        return max(processes.gather_objects(signals.number))

    def stop(self, number: int) -> None:
        """End a run that was asked to stop and has been saved.

        Raises:
            Interrupted: always.
        """
        assert self.folder is not None
        raise Interrupted(
            f"stopped at step {self.step}, epoch {self.position.epoch + 1}; saved in {self.folder.state}; "
            f"go on with: act3d {self.recipe.command} --resume {self.folder.path}",
            number,
        )

    def finish(self) -> dict[str, Any]:
        """Write the final weights and results.json, from the first process; return the final numbers."""
        recipe, position, folder = self.recipe, self.position, self.folder
        metrics = {**self.results, "epochs": position.epoch, "steps": self.step}
        if not self.first:
            return metrics
        self.settle()
        if folder is not None:
            checkpoints.save(recipe.model, folder.last, self.meta)
        metrics |= recipe.test(folder)
        if folder is not None:
            folder.write_results(
                command=recipe.command,
                protocol=recipe.protocol,
                metrics=metrics,
                seed=recipe.seed,
                data={
                    "name": recipe.clouds.name,
                    "fingerprint": recipe.clouds.fingerprint,
                    "lives_on": self.loader.lives_on,
                },
                duration_s=round(position.duration_s, 1),
                clouds_per_s=round(position.clouds / max(position.training_s, 1e-9), 2),
                **recipe.facts,
            )
            took = duration_text(position.duration_s)
            self.say(f"{recipe.command}: finished after {took}; weights in {folder.last}")
        return metrics

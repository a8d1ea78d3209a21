"""A run under way: what it says, logs, validates and saves. The loop says when."""

import time
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any

from act3d import checkpoints
from act3d.engine import processes
from act3d.engine.batch_statistics import estimate_statistics, trained_norms, unsettled
from act3d.engine.clock import Clock
from act3d.engine.log import MetricsLog
from act3d.engine.loggers import log_picture, open_loggers, takes_pictures
from act3d.engine.optimizer import parameter_counts
from act3d.engine.prepared import Prepared
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.engine.seeding import reseed
from act3d.engine.sharding import gathered
from act3d.engine.signals import Interrupted, Signals
from act3d.engine.state import all_finite, write_state
from act3d.engine.tally import NonFiniteLoss
from act3d.presets import flatten
from act3d.progress import Progress, duration_text
from act3d.settings.model import to_dict
from act3d.supervision import supervision_note

PICTURES = 10  # times in a run that pictures are made for TensorBoard and the like


class Run(Prepared):
    """Keeps a training: without a folder nothing is written and nothing is said. See `Prepared` for the arguments."""

    def __init__(self, recipe: Recipe, folder: RunFolder | None, resume: bool) -> None:
        super().__init__(recipe, folder, resume)
        self._shown, self._averaged_at, self._pictured_at = "", -1, -self.steps
        self.log = self._open_log()
        done = self.position.epoch * len(self.loader) + self.position.batch
        self.progress = Progress(self._total_batches(), done, enabled=self.first and folder is not None)
        self._say_start()
        self.clock = Clock(self.position)

    def _open_log(self) -> MetricsLog | None:
        if self.folder is None or not self.first:
            return None
        columns = [*self.recipe.train_columns, "lr", "clouds_per_s", *self.recipe.eval_columns]
        settings, rows = self.recipe.settings, self.position.rows
        loggers = open_loggers(settings.logger, self.folder.path, flatten(to_dict(settings)), self.step, rows > 0)
        return MetricsLog(self.folder.path, columns, rows, loggers)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.clear()
        if self.log:
            self.log.close()
        self._open.close()

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

    def _say_start(self) -> None:
        if self.folder is None:
            return
        name, clouds, place = self.recipe.command, self.recipe.clouds, self.loader.place
        self.say(
            f"{name}: {len(clouds)} clouds of {clouds.name} ({place}), {self.plan.epochs} epochs of "
            f"{self.steps_per_epoch} steps, from step {self.step}, into {self.folder.path}"
            f"{supervision_note(self.recipe.facts)}"
        )
        for change in self.changed:
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

    def average_statistics(self) -> None:
        """Where the run is too short for running averages of batch norms, average them over the training clouds.

        Under "legacy" this is left out, as in the releases.
        """
        recipe, steps = self.recipe, self.steps
        if recipe.protocol == "legacy" or self._averaged_at == self.step or not unsettled(recipe.model, steps):
            return
        if self._averaged_at < 0 and self.folder is not None:
            self.say(f"{recipe.command}: batch statistics are averaged over the training clouds: {steps} steps are few")
        recipe.facts["batch_norm"] = (
            f"averaged over the training clouds; {steps} steps are too few for running averages"
        )
        self._averaged_at = self.step
        reseed(recipe.seed, self.step, self.fabric.global_rank)
        self.loader.set_epoch(self.position.epoch)
        self.loader.start_at(0)
        batches = map(self.fabric.to_device, islice(self.loader, 1 if self.plan.fast_dev_run else None))
        passes = (partial(recipe.use, recipe.augment(recipe.draw(batch["points"])), batch) for batch in batches)
        estimate_statistics(recipe.model, passes)
        processes.average_buffers(trained_norms(recipe.model))  # each process has seen its share of the clouds

    def validate(self) -> None:
        """Evaluate, log, and keep the weights if they are the best so far."""
        model, position, began = self.recipe.model, self.position, time.monotonic()
        with self.clock.paused():
            with self.whole():
                self.average_statistics()
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
            with self.whole():
                self._log_pictures()
            self.progress.pause(time.monotonic() - began)

    def _log_pictures(self) -> None:
        """Give pictures to the loggers that take some: at most about ten times in a run, however often it validates."""
        loggers = [logger for logger in self.log.loggers if takes_pictures(logger)] if self.log else []
        if not loggers or self.plan.fast_dev_run or self.step < self._pictured_at + self.steps // PICTURES:
            return
        self._pictured_at = self.step
        training = self.recipe.model.training
        self.recipe.model.eval()
        pictures = self.recipe.pictures()
        self.recipe.model.train(training)
        for name, picture in pictures.items():
            for logger in loggers:
                log_picture(logger, name, picture, self.step)

    def _keep_best(self, value: float) -> None:
        recipe, best = self.recipe, self.position.best
        if best is not None and not (value < best if recipe.lower_is_better else value > best):
            return
        self.position.best = value
        if self.folder is None:
            return
        weights = self.weights()
        if self.first:
            checkpoints.save(recipe.model, self.folder.best, {**self.meta, recipe.best_metric: value}, weights)

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
            weights, moments = self.weights(), gathered(self._optimizer.state_dict())
            if not self.first:
                return
            state = {
                "model": weights,
                "optimizer": moments,
                **sums,
                "lives_on": self.loader.lives_on,
                "lanes": self.lanes,
                "run": self.description,
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
            f"stopped at step {self.step}, epoch {self.position.epoch + 1}; saved in {self.folder.state}",
            f"act3d {self.recipe.command} --resume {self.folder.path}",
            number,
        )

    def finish(self) -> dict[str, Any]:
        """Write the final weights and results.json, from the first process; return the final numbers."""
        recipe, position, folder = self.recipe, self.position, self.folder
        metrics = {**self.results, "epochs": position.epoch, "steps": self.step}
        with self.whole():
            self.average_statistics()  # with all processes: each has its share of the clouds
            recipe.conclude(folder)
        weights = self.weights()
        with self.whole():
            if self.first:
                if folder is not None:
                    checkpoints.save(recipe.model, folder.last, self.meta, weights)
                metrics |= recipe.test(folder)
                if folder is not None:
                    self._write_results(folder, metrics)
                    took = duration_text(position.duration_s)
                    self.say(f"{recipe.command}: finished after {took}; weights in {folder.last}")
            processes.gather_objects(None)  # what follows, in a script, finds the files of the first process
        return metrics

    def _write_results(self, folder: RunFolder, metrics: dict[str, Any]) -> None:
        recipe, position, clouds = self.recipe, self.position, self.recipe.clouds
        folder.write_results(
            command=recipe.command,
            protocol=recipe.protocol,
            metrics=metrics,
            seed=recipe.seed,
            data={**clouds.about(), "lives_on": self.loader.lives_on},
            duration_s=round(position.duration_s, 1),
            clouds_per_s=round(position.clouds / max(position.training_s, 1e-9), 2),
            parameters=parameter_counts(recipe.model),
            **recipe.facts,
        )

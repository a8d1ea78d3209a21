"""The callback that keeps a run: its position, its log, its checkpoints, and a clean end when it is interrupted."""

import signal
import threading
import time
from types import FrameType
from typing import Any

import lightning

from act3d import checkpoints
from act3d.engine import processes
from act3d.engine.log import MetricsLog
from act3d.engine.module import NonFiniteLoss, StageModule
from act3d.engine.run_folder import RunFolder
from act3d.engine.state import all_finite, write_state
from act3d.errors import Act3dError
from act3d.progress import Progress, duration_text
from act3d.settings.training import TrainerConfig

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Act3dError):
    """Training was asked to stop, and did so with everything saved.

    Attributes:
        code: exit code of the process: 128 plus the number of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.code = 128 + number


class RunKeeper(lightning.Callback):
    """Moves the run's position on, and saves, logs, validates and stops at the right moments.

    Args:
        folder: where the run is kept.
        meta: facts that go into native checkpoints.
        plan: how long to train, and how often to look and save.
        resume_command: what to type to go on.
    """

    def __init__(self, folder: RunFolder, meta: dict[str, Any], plan: TrainerConfig, resume_command: str) -> None:
        self.folder, self.meta, self.plan, self.resume_command = folder, meta, plan, resume_command
        self.signal = 0
        self.results: dict[str, Any] = {}
        self.first = processes.rank() == 0
        self._handlers: dict[int, Any] = {}
        self._log: MetricsLog | None = None
        self.progress: Progress | None = None

    # ------------------------------------------------------------------ start and end

    def open(self, module: StageModule) -> None:
        """Open the log and the progress line; before Lightning starts, since validation may come first."""
        position = module.position
        # Remembered before Lightning puts its own in their place.
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        if self.first:
            columns = [*module.train_columns, "lr", "clouds_per_s", *module.eval_columns]
            self._log = MetricsLog(self.folder.path, columns, position.rows, module.step)
        done = position.epoch * module.batches + position.batch
        self.progress = Progress(self._total_batches(module), done, enabled=self.first)
        self._window_clouds = 0
        self._shown = ""
        self._start_clocks()

    def close(self) -> None:
        """Close the log, clear the progress line, and give the signals back."""
        if self.progress:
            self.progress.clear()
        if self._log:
            self._log.close()
        self._log = None
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def say(self, text: str) -> None:
        """Print a line that stays, in the first process."""
        if self.progress:
            self.progress.say(text)

    def _start_clocks(self) -> None:
        now = time.monotonic()
        self._saved_at = self._window_began = self._training_at = self._duration_at = now

    def _count_time(self, module: StageModule, training: bool) -> None:
        """Add the time since the last call to the run's; `training` tells whether it went into training."""
        now, position = time.monotonic(), module.position
        position.duration_s += now - self._duration_at
        if training:
            position.training_s += now - self._training_at
        self._training_at = self._duration_at = now

    def _total_batches(self, module: StageModule) -> int:
        total = self.plan.epochs * module.batches
        return min(total, self.plan.max_steps * self.plan.accumulate) if self.plan.max_steps else total

    def listen(self) -> None:
        """From now on, Ctrl-C and SIGTERM ask for a clean stop; a second Ctrl-C stops at once."""
        if threading.current_thread() is threading.main_thread():  # in others signals are not ours to take
            for number in SIGNALS:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if self.progress and number == signal.SIGINT:
            self.progress.say("Stopping after this step; press Ctrl-C again to stop at once, without saving.")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the signals from Lightning, whose own handlers end the process on the spot."""
        self.listen()
        self._start_clocks()

    # ------------------------------------------------------------------ every batch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the batch; at an optimizer step, log, save or stop if it is time to."""
        module: StageModule = pl_module
        position, clouds = module.position, len(batch["index"]) * processes.world()
        position.batch += 1
        position.clouds += clouds
        self._window_clouds += clouds
        ended = position.batch == module.batches
        if module.at_step:
            self._after_step(trainer, module, ended)
        assert self.progress is not None
        self.progress.advance(f"epoch {position.epoch + 1}/{self.plan.epochs}  step {module.step}  {self._shown}")

    def _after_step(self, trainer: Any, module: StageModule, ended: bool) -> None:
        step = module.step
        look = ended or step % self.plan.log_every == 0
        # Asking the device for a number, or the other processes for their word, is a wait: rare on CUDA.
        asks = look or module.device.type == "cpu"
        if asks:
            self._check_finite(module)
        if look:
            self._log_window(module)
        if self.plan.max_steps and step >= self.plan.max_steps:
            trainer.should_stop = True
            return
        if asks and not ended:
            self._stop_if_asked(module)
        if not ended and self._save_is_due(step):
            self.save(module)

    def _check_finite(self, module: StageModule) -> None:
        try:
            module.check_finite()
        except NonFiniteLoss as error:
            raise NonFiniteLoss(f"{error}; {self._last_good()}") from None

    def _last_good(self) -> str:
        path = self.folder.state
        return f"last good checkpoint: {path}" if path.exists() else "no checkpoint had been written yet"

    def _log_window(self, module: StageModule) -> None:
        means = module.take_means()
        now = time.monotonic()
        speed = self._window_clouds / max(now - self._window_began, 1e-9)
        self._count_time(module, training=True)
        self._window_began, self._window_clouds = now, 0
        self._shown = f"loss {means.get('loss', float('nan')):.4f}  {speed:.0f} clouds/s"
        self._write_row(module, {**means, "lr": module.current_lr, "clouds_per_s": speed})

    def _write_row(self, module: StageModule, values: dict[str, float]) -> None:
        if self._log:
            self._log.write(module.step, module.position.epoch, values)
            module.position.rows = self._log.rows

    def _save_is_due(self, step: int) -> bool:
        minutes = (time.monotonic() - self._saved_at) / 60
        by_steps = self.plan.save_every_steps and step % self.plan.save_every_steps == 0
        return bool(by_steps) or bool(self.plan.save_every_minutes and minutes >= self.plan.save_every_minutes)

    def _stop_if_asked(self, module: StageModule, save: bool = True) -> None:
        number = max(processes.gather_objects(self.signal)) if processes.active() else self.signal
        if not number:
            return
        if save:
            self.save(module)
        raise Interrupted(
            f"stopped at step {module.step}, epoch {module.position.epoch + 1}; saved in {self.folder.state}; "
            f"go on with: {self.resume_command}",
            number,
        )

    def save(self, module: StageModule) -> None:
        """Write last.ckpt, from the first process; weights that are not finite never replace good ones."""
        self._count_time(module, training=True)
        self._saved_at = began = time.monotonic()
        if not self.first:
            return
        if not all_finite(module.model):
            raise NonFiniteLoss(f"weights are not finite after step {module.step}; {self._last_good()}")
        scaler = getattr(module.trainer.precision_plugin, "scaler", None)
        state = {
            **module.dump(),
            "results": self.results,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        write_state(self.folder.state, state, module.position)
        self._window_began += time.monotonic() - began
        self._count_time(module, training=False)

    # ------------------------------------------------------------------ every epoch

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Validate if it is time to, save, and stop if asked."""
        module: StageModule = pl_module
        stopped = trainer.should_stop
        if module.position.batch == module.batches:
            module.position.epoch, module.position.batch = module.position.epoch + 1, 0
        final = stopped or module.position.epoch >= self.plan.epochs
        if self._validation_is_due(module.position.epoch, final):
            # Saved before as well: a kill during a long validation costs the validation only.
            module.position.pending = True
            self.save(module)
            self._stop_if_asked(module, save=False)
            self.validate(module)
        self.save(module)
        if not final:
            self._stop_if_asked(module, save=False)

    def _validation_is_due(self, epoch: int, final: bool) -> bool:
        every = self.plan.validate_every
        return every > 0 and (final or epoch % every == 0)

    def validate(self, module: StageModule) -> None:
        """Evaluate, log, and keep the weights if they are the best so far."""
        began = time.monotonic()
        self._count_time(module, training=True)
        training = module.model.training
        module.model.eval()
        try:
            self.results = module.evaluate(limit=1 if self.plan.fast_dev_run else 0)
        finally:
            module.model.train(training)
        position = module.position
        position.pending = False
        numbers = {name: float(value) for name, value in self.results.items() if name in module.eval_columns}
        if numbers:
            self._write_row(module, numbers)
            self._keep_best(module, numbers[module.best_metric])
        if self.progress and numbers:
            shown = "  ".join(f"{name.removeprefix('val_')} {value:.4g}" for name, value in numbers.items())
            when = f"step {module.step}" if position.batch else f"epoch {position.epoch}"
            self.progress.say(f"after {when}: {shown}  ({duration_text(time.monotonic() - began)})")
            self.progress.pause(time.monotonic() - began)
        self._window_began += time.monotonic() - began
        self._count_time(module, training=False)

    def _keep_best(self, module: StageModule, value: float) -> None:
        best = module.position.best
        better = best is None or (value < best if module.lower_is_better else value > best)
        if better:
            module.position.best = value
            if self.first:
                checkpoints.save(module.model, self.folder.best, {**self.meta, module.best_metric: value})

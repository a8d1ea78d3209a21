"""The training loop. Every kind of training goes through it; what differs is in `act3d.recipes`.

The random numbers of a step (order of clouds, augmentation, masks, dropout) depend only on seed, epoch, batch and
process. So a run that was stopped at any batch continues from its last state as if it had never been stopped.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from act3d.engine import processes
from act3d.engine.recipe import Recipe
from act3d.engine.run import Run
from act3d.engine.run_folder import RunFolder
from act3d.engine.schedules import learning_rate
from act3d.engine.seeding import reseed
from act3d.engine.signals import Interrupted, Signals
from act3d.engine.tally import NonFiniteLoss
from act3d.errors import LostProcess, reason_of
from act3d.lines import typed

__all__ = ["Interrupted", "NonFiniteLoss", "train"]


def train(recipe: Recipe, folder: RunFolder | None = None, resume: bool = False) -> dict[str, Any]:
    """Train to the end, or until asked to stop.

    Args:
        recipe: what is trained, at its beginning.
        folder: the run folder; None = in memory only, as a few-shot fold.
        resume: continue from the folder's `checkpoints/last.ckpt`.

    Returns:
        The final numbers, as in results.json.

    Raises:
        Interrupted: on SIGINT, SIGTERM, SIGHUP or SIGUSR1, after everything was saved.
        NonFiniteLoss: the loss is not finite.
        CheckpointError: the checkpoint does not fit.
        LostProcess: another process of this run has ended.
    """
    try:
        with Run(recipe, folder, resume) as run:
            with Signals(enabled=folder is not None, say=run.say) as signals:
                _fit(run, recipe, signals)
            return run.finish()
    except RuntimeError as error:
        if recipe.plan.joined and processes.tells_of_loss(error):
            raise LostProcess(_after_loss(recipe, folder, error)) from error
        raise


def _fit(run: Run, recipe: Recipe, signals: Signals) -> None:
    plan, optim, position = recipe.plan, recipe.optim, run.position
    fabric, loader, model, optimizer = run.fabric, run.loader, run.model, run.optimizer
    if position.pending:  # if the last run ended during validation, validate first
        run.validate()
    if plan.compile:
        recipe.compile_parts()
    recipe.model.train()
    optimizer.zero_grad()
    while not run.done:
        loader.set_epoch(position.epoch)
        loader.start_at(position.batch)
        for batch in loader:
            batch, step = fabric.to_device(batch), run.step
            if plan.compile:
                torch.compiler.cudagraph_mark_step_begin()  # results of the last step are not needed any more
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(run.epochs_behind, plan.epochs, optim)
            reseed(recipe.seed, position.epoch * len(loader) + position.batch, fabric.global_rank)
            # An optimizer step takes `accumulate` batches; the last one of an epoch, those that are left.
            steps_now = (position.batch + 1) % plan.accumulate == 0 or position.batch + 1 == len(loader)
            with fabric.no_backward_sync(model, enabled=not steps_now):
                values = model(_losses_of(recipe, batch, step))
                fabric.backward(values["loss"] / plan.accumulate)
            run.tally.add(values, batch["index"], step)
            if steps_now:
                if optim.clip:
                    fabric.clip_gradients(model, optimizer, max_norm=optim.clip, error_if_nonfinite=False)
                optimizer.step()
                optimizer.zero_grad()
            run.count_batch(len(batch["index"]))
            if not steps_now:
                continue
            epoch_ended = position.batch == len(loader)
            logs_now = epoch_ended or run.step % plan.log_every == 0
            # Reading a number from the device, or asking other processes, waits for them: rarely done on CUDA.
            asks_now = logs_now or fabric.device.type == "cpu"
            if asks_now:
                run.check_finite()
            if logs_now:
                run.log_means()
            if run.at_max_steps:
                break
            if asks_now and not epoch_ended and (number := run.signal(signals)):
                run.save()
                run.stop(number)
            if not epoch_ended and run.saving_is_due(asks_now):
                run.save()
        run.end_epoch()
        if run.validation_is_due:
            # Saved before as well: a kill during a long validation costs the validation only.
            position.pending = True
            run.save()
            if number := run.signal(signals):
                run.stop(number)
            run.validate()
        run.save()
        if not run.done and (number := run.signal(signals)):
            run.stop(number)


def _after_loss(recipe: Recipe, folder: RunFolder | None, error: Exception) -> str:
    text = f"process {processes.rank()}: another process of this run has ended or cannot be reached"
    if folder is not None and folder.holds_state:
        text += f"; go on from the last state with: {typed(f'act3d {recipe.command} --resume {folder.path}')}"
    reason = re.sub(r"^\[\S+\] ", "", reason_of(error)).partition(". ")[0]  # without gloo's own source line
    return f"{text} ({reason})"


def _losses_of(recipe: Recipe, batch: dict[str, Tensor], step: int) -> Callable[[], dict[str, Tensor]]:
    """Return the work of one batch, to be done where Fabric has set precision and the exchange of gradients."""
    return lambda: recipe.losses(recipe.augment(recipe.draw(batch["points"])), batch, step)

"""Everything that changes during training, as pure functions of the epoch or the step."""

import math

from act3d.settings.training import OptimConfig, ScheduleConfig, TrainerConfig


def cosine(start: float, end: float, progress: float) -> float:
    """Return the value between `start` (progress <= 0) and `end` (progress >= 1) on half a cosine wave."""
    progress = min(max(progress, 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def temperature(step: int, schedule: ScheduleConfig) -> float:
    """Return the Gumbel-softmax temperature at an optimizer step."""
    return cosine(schedule.temperature_start, schedule.temperature_end, step / schedule.temperature_steps)


def kl_weight(step: int, schedule: ScheduleConfig) -> float:
    """Return the weight of the KL term at an optimizer step: 0 until `kl_delay`, then a cosine rise."""
    return cosine(0.0, schedule.kl_weight, (step - schedule.kl_delay) / schedule.kl_steps)


def learning_rate(epoch: float, epochs: int, optim: OptimConfig) -> float:
    """Return the learning rate at an epoch (a fraction of one when the schedule goes by step).

    Linear from `warmup_lr` over the warm-up; then a cosine from `lr` to `min_lr` whose phase is counted from epoch 0,
    so that the warm-up covers its flat beginning, as in the released recipes.
    """
    if optim.schedule_by == "epoch":
        epoch = math.floor(epoch)
    if epoch < optim.warmup_epochs:
        return optim.warmup_lr + (optim.lr - optim.warmup_lr) * epoch / optim.warmup_epochs
    return cosine(optim.lr, optim.min_lr, epoch / epochs)


def sized(plan: TrainerConfig, optim: OptimConfig, steps_per_epoch: int) -> tuple[TrainerConfig, OptimConfig]:
    """Return both with all that counts epochs scaled to the size of the data.

    Multiplied where a small dataset gives fewer steps than `min_steps`; divided where a large one gives more than
    `step_ceiling`, down to one epoch.
    """
    steps = plan.epochs * steps_per_epoch
    if plan.max_steps:
        return plan, optim
    if steps < plan.min_steps:
        epochs = plan.epochs * -(-plan.min_steps // steps)
    elif plan.step_ceiling and steps > plan.step_ceiling:
        epochs = max(1, plan.step_ceiling // steps_per_epoch)
    else:
        return plan, optim
    factor = epochs / plan.epochs
    pause = max(1, round(factor * plan.validate_every)) if plan.validate_every else 0
    changed = {"epochs": epochs, "validate_every": pause}
    return plan.model_copy(update=changed), optim.model_copy(update={"warmup_epochs": factor * optim.warmup_epochs})

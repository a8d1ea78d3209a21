import math

import pytest

from act3d.engine.schedules import kl_weight, learning_rate, sized, temperature
from act3d.settings.training import OptimConfig, ScheduleConfig, TrainerConfig


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 1.0), (50_000, 0.53125), (100_000, 0.0625), (250_000, 0.0625), (25_000, None)]
)
def test_temperature_is_the_released_cosine(step: int, expected: float | None) -> None:
    if expected is None:
        expected = 0.0625 + (1 - 0.0625) * (1 + math.cos(math.pi / 4)) / 2
    assert temperature(step, ScheduleConfig()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (9_999, 0.0), (10_000, 0.0), (60_000, 0.05), (110_000, 0.1), (400_000, 0.1)]
)
def test_kl_weight_waits_then_rises(step: int, expected: float) -> None:
    assert kl_weight(step, ScheduleConfig()) == pytest.approx(expected, abs=1e-12)


def test_learning_rate_warms_up_and_falls_by_epoch() -> None:
    optim = OptimConfig(lr=5e-4, min_lr=1e-7, warmup_epochs=10, warmup_lr=1e-6)
    assert learning_rate(0, 300, optim) == 1e-6
    assert learning_rate(5, 300, optim) == pytest.approx(1e-6 + (5e-4 - 1e-6) / 2)
    # The cosine's phase counts from epoch 0, so right after the warm-up it is a little under the peak.
    assert learning_rate(10, 300, optim) == pytest.approx(1e-7 + (5e-4 - 1e-7) * (1 + math.cos(math.pi / 30)) / 2)
    assert learning_rate(150, 300, optim) == pytest.approx((5e-4 + 1e-7) / 2)
    assert learning_rate(299.9, 300, optim) == learning_rate(299, 300, optim)


def test_learning_rate_by_step_moves_within_an_epoch() -> None:
    optim = OptimConfig(lr=1.0, min_lr=0, warmup_lr=0, warmup_epochs=2, schedule_by="step")
    assert learning_rate(0.5, 10, optim) == pytest.approx(0.25)
    assert learning_rate(5.5, 10, optim) < learning_rate(5.0, 10, optim)
    assert learning_rate(10, 10, optim) == pytest.approx(0)


def test_no_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0, 10, OptimConfig(lr=1e-3, warmup_epochs=0)) == pytest.approx(1e-3)


def test_a_small_dataset_gets_enough_steps() -> None:
    plan, optim = TrainerConfig(epochs=6, min_steps=300, validate_every=3), OptimConfig(warmup_epochs=0.5)
    assert sized(plan, optim, 50) == (plan, optim)  # the sample: 300 steps as they are
    longer, warmer = sized(plan, optim, 5)
    assert (longer.epochs, longer.validate_every, warmer.warmup_epochs) == (60, 30, 5.0)
    # The rate moves as it does on the larger dataset.
    assert learning_rate(30, 60, warmer) == pytest.approx(learning_rate(3, 6, optim))
    assert sized(plan.model_copy(update={"max_steps": 2}), optim, 5)[0].epochs == 6
    assert sized(TrainerConfig(epochs=6), optim, 5)[0].epochs == 6


def test_a_large_dataset_gets_no_more_steps_than_the_ceiling() -> None:
    plan = TrainerConfig(epochs=8, min_steps=200, step_ceiling=2000, validate_every=4)
    optim = OptimConfig(warmup_epochs=0.5)
    assert sized(plan, optim, 250) == (plan, optim)
    shorter, warmer = sized(plan, optim, 500)
    assert (shorter.epochs, shorter.validate_every, warmer.warmup_epochs) == (4, 2, 0.25)
    assert learning_rate(2, 4, warmer) == pytest.approx(learning_rate(4, 8, optim))
    single, _ = sized(plan, optim, 5000)  # never less than an epoch
    assert (single.epochs, single.validate_every) == (1, 1)
    assert sized(plan.model_copy(update={"validate_every": 0}), optim, 500)[0].validate_every == 0
    assert sized(plan.model_copy(update={"max_steps": 9}), optim, 500)[0].epochs == 8

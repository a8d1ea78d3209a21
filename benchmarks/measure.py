"""Timing two ways of doing the same thing in turn, so that a busy machine slows both alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from act3d.kernels.onednn import flop_formulas

Work = Callable[[], object]


class Comparison(NamedTuple):
    """Seconds of the textbook form and of ours (medians), their ratio (median over rounds) and its spread.

    spread: interquartile range of the ratio of one round, over the ratio.
    """

    textbook_s: float
    ours_s: float
    ratio: float
    spread: float


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work; on a CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Work, device: torch.device, clock: str = "wall") -> float:
    """Time of one call: wall, or the processor time of this process (steadier where others share the machine)."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    synchronize(device)
    start = now()
    work()
    synchronize(device)
    return now() - start


def interleave(
    works: Sequence[Work], repeats: int, device: torch.device, clock: str = "wall", warmup: int = 1
) -> list[list[float]]:
    """Times of every work, `repeats` rounds of one call each; the order turns round from round to round."""
    for _ in range(warmup):
        for work in works:
            work()
    times: list[list[float]] = [[] for _ in works]
    for number in range(repeats):
        for k in range(len(works)):
            place = (number + k) % len(works)
            times[place].append(seconds(works[place], device, clock))
    return times


def compare(textbook: Work, ours: Work, repeats: int, device: torch.device, clock: str = "wall") -> Comparison:
    """Measure two works against each other."""
    plain, fast = interleave([textbook, ours], repeats, device, clock)
    ratios = [a / b for a, b in zip(plain, fast, strict=True)]
    ratio = statistics.median(ratios)
    return Comparison(statistics.median(plain), statistics.median(fast), ratio, _quartile_range(ratios) / ratio)


def flops(work: Work) -> int:
    """Floating point operations of the matrix products, convolutions and attention of one call, backward included."""
    with FlopCounterMode(display=False, custom_mapping=flop_formulas()) as counter:
        work()
    return counter.get_total_flops()


def _quartile_range(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low

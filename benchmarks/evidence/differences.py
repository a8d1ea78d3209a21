"""Means over seeds, paired differences and their intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000


class Difference(NamedTuple):
    """A paired difference: its mean over seeds, and half the width of the 95 % interval (NaN for a single seed)."""

    mean: float
    half: float
    seeds: int

    @property
    def holds_zero(self) -> bool:
        """Whether the interval holds zero; also where there is none."""
        return not abs(self.mean) > self.half


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample; NaN for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Return first - second over the seeds that both have, with the t interval of its mean."""
    from scipy.stats import t

    gaps = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if not gaps:
        return Difference(math.nan, math.nan, 0)
    count = len(gaps)
    half = float(t.ppf(0.975, count - 1)) * spread(gaps) / math.sqrt(count) if count > 1 else math.nan
    return Difference(float(np.mean(gaps)), half, count)


def bootstrap(
    first: Mapping[int, NDArray[np.bool_]], second: Mapping[int, NDArray[np.bool_]], seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of the difference in accuracy, in points, over draws of the judged shapes.

    Args:
        first, second: seed -> which shapes were right; a seed judges the same shapes in both.

    The shapes of one seed are drawn anew together for both, so the pairs stay pairs.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    gaps = [first[each].astype(float) - second[each].astype(float) for each in seeds]
    if len({len(gap) for gap in gaps}) == 1 and len(seeds) > 1:
        mean = np.mean(gaps, axis=0)  # the same shapes for all seeds: a shape is drawn with all its seeds
        drawn = [mean[rng.integers(len(mean), size=len(mean))].mean() for _ in range(DRAWS)]
    else:
        drawn = [
            float(np.mean([gap[rng.integers(len(gap), size=len(gap))].mean() for gap in gaps])) for _ in range(DRAWS)
        ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return 100 * float(low), 100 * float(high)

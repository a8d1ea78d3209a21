"""Scores of a classifier: logits of whole datasets, one fixed vote, accuracies and confusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.data.transforms import augmentation
from act3d.data.views import coordinates, draw_random, draw_test, widened
from act3d.geometry import farthest_point_sample, gather
from act3d.models.classifier import Classifier


@dataclass(frozen=True)
class ClassScores:
    """Numbers of one evaluation, in percent.

    oa: clouds right. macc: mean over the classes present of their clouds right. per_class: clouds right of each class
    present, by name. counts: clouds of each class, by name. confusion: (K, K) counts, rows = truth.
    """

    oa: float
    macc: float
    per_class: dict[str, float]
    counts: dict[str, int]
    confusion: NDArray[np.int64]

    def as_metrics(self) -> dict[str, Any]:
        """The numbers for results.json."""
        return {
            "oa": self.oa,
            "macc": self.macc,
            "per_class": self.per_class,
            "counts": self.counts,
            "confusion": self.confusion.tolist(),
        }


def score(predicted: NDArray[np.int64], truth: NDArray[np.int64], classes: list[str]) -> ClassScores:
    """Compare predicted with true class ids, both (S,)."""
    count = len(classes)
    confusion = np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count).astype(np.int64)
    totals, right = confusion.sum(axis=1), confusion.diagonal()
    present = np.flatnonzero(totals)
    per_class = {classes[i]: 100 * float(right[i] / totals[i]) for i in present}
    return ClassScores(
        oa=100 * float(right.sum() / totals.sum()),
        macc=float(np.mean(list(per_class.values()))),
        per_class=per_class,
        counts={classes[i]: int(totals[i]) for i in present},
        confusion=confusion,
    )


@torch.no_grad()
def logits_of(model: Classifier, points: Tensor, batch_size: int) -> Tensor:
    """Logits (S, K) on the CPU of points (S, N, 3); the model should be in eval mode."""
    device = next(model.parameters()).device
    blocks = (points[i : i + batch_size].to(device) for i in range(0, len(points), batch_size))
    return torch.cat([model(model.patchify(block)).float().cpu() for block in blocks])


@torch.no_grad()
def vote(
    model: Classifier, clouds: CloudDataset, count: int, votes: int = 0, batch_size: int = 64, seed: int = 0
) -> Tensor:
    """Logits (S, K) of all clouds, on the CPU.

    Without votes: of the `count` farthest points. With votes: the mean over that many passes, each over a random
    choice from the widened farthest points, scaled and shifted at random. The draws depend on (seed, cloud's place in
    batches) only, so this is one vote that can be repeated, not the best of many.

    Args:
        model: The classifier, in eval mode.
        clouds: With all their stored points.
        count: Points a cloud.
        votes: Passes; 0 = one plain pass.
        batch_size: Clouds at a time.
        seed: Of the draws.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(clouds), batch_size):
        rows = list(range(start, min(start + batch_size, len(clouds))))
        points = clouds.fetch(rows, 0)["points"].to(device)
        if not votes:
            parts.append(model(model.patchify(draw_test(points, count))).float().cpu())
            continue
        wide = widened(count, points.shape[1])
        if wide < points.shape[1]:
            points = gather(points, farthest_point_sample(coordinates(points), wide))
        total = torch.zeros(())
        for _ in range(votes):
            varied = _varied(draw_random(points, count, generator), generator, clouds.channels)
            total = total + model(model.patchify(varied)).float().cpu()
        parts.append(total / votes)
    return torch.cat(parts)


def _varied(points: Tensor, generator: torch.Generator, channels: Sequence[str]) -> Tensor:
    """`scale_shift` drawn from a generator, so that the state of torch's own does not matter."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return augmentation("scale_shift", channels)(points)

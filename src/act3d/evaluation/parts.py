"""Scores of a segmenter of parts: predictions on shapes, always of the same points, over a whole split."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from act3d.data.clouds import CloudDataset
from act3d.evaluation.segmentation import PartScores

NUMBERS = ("instance_miou", "class_miou", "accuracy")
VOTE_SCALE = (0.8, 1.25)  # one factor a cloud and pass


def score_parts(
    model: nn.Module, clouds: CloudDataset, batch_size: int, votes: int = 0, seed: int = 0, limit: int = 0
) -> dict[str, Any]:
    """Return the scores of a segmenter on shapes, in percent; see `PartScores.result`.

    Args:
        model: in eval mode, on its device; (B, N, 3) and categories (B,) -> logits (B, N, parts).
        clouds: shapes with part labels.
        batch_size: shapes at once.
        votes: passes of a vote, which adds "instance_miou_voted" and the like; 0 or 1 = no vote.
        seed: of the vote's scales.
        limit: this many batches only; 0 = all.
    """
    rows = np.arange(len(clouds))[: limit * batch_size or None]

    def scored(passes: int) -> dict[str, Any]:
        scores = PartScores(clouds.classes, clouds.class_parts)
        for predicted, truth, category in predict_parts(model, clouds, rows, batch_size, passes, seed):
            scores.add(predicted, truth, category)
        return scores.result()

    metrics = scored(0)
    if votes > 1:
        voted = scored(votes)
        metrics |= {f"{name}_voted": voted[name] for name in NUMBERS} | {"votes": votes}
    return metrics


def allowed_parts(clouds: CloudDataset) -> Tensor:
    """bool (categories, parts): the parts that each category has."""
    allowed = torch.zeros(len(clouds.classes), len(clouds.parts), dtype=torch.bool)
    for i, cls in enumerate(clouds.classes):
        allowed[i, clouds.class_parts.get(cls, [])] = True
    return allowed


@torch.no_grad()
def predict_parts(
    model: nn.Module, clouds: CloudDataset, rows: np.ndarray, batch_size: int, votes: int = 0, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield predictions (B, N), true parts (B, N) and categories (B,) of the shapes at `rows`, always the same points.

    With `votes`, the shape as it is and `votes` - 1 copies, each scaled by a factor U(0.8, 1.25) drawn by `seed`, are
    averaged.
    """
    device = next(model.parameters()).device
    allowed = allowed_parts(clouds).to(device)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(rows), batch_size):
        batch = clouds.fetch(rows[start : start + batch_size].tolist(), 0)
        points, label = batch["points"].to(device), batch["label"].to(device)
        total = model(points, label).softmax(dim=2)
        for _ in range(votes - 1):
            low, high = VOTE_SCALE
            scale = low + (high - low) * torch.rand(len(points), 1, 1, generator=generator)
            scaled = torch.cat([points[..., :3] * scale.to(device), points[..., 3:]], dim=2)  # channels stay
            total = total + model(scaled, label).softmax(dim=2)
        found = total.masked_fill(~allowed[label].unsqueeze(1), -1).argmax(dim=2)
        yield found.cpu().numpy(), batch["parts"].numpy(), batch["label"].numpy()

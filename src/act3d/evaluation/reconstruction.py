"""How well an autoencoder rebuilds clouds."""

import torch
from torch import Tensor

from act3d.geometry import reconstruction_scores
from act3d.models.autoencoder import Autoencoder, Reconstruction

SCORES = ("f_score", "cd_l1", "cd_l2")


@torch.no_grad()
def rebuild_scores(model: Autoencoder, points: Tensor) -> Tensor:
    """Return (B, 3): F-score, Chamfer L1 x 1000 and Chamfer L2 x 1000 of every cloud of points (B, N, 3)."""
    return scores_of(model.reconstruct(model.patchify(points)), points)


def scores_of(rebuilt: Reconstruction, points: Tensor) -> Tensor:
    """Return what `rebuild_scores` does for clouds (B, N, 3) that were rebuilt already."""
    scores = reconstruction_scores(rebuilt.points.float(), points)
    return scores * scores.new_tensor([1, 1000, 1000])

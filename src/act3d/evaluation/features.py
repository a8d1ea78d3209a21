"""Features of whole datasets from a frozen encoder, and the plain baseline."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.errors import InputError, MissingDependency


class Features(NamedTuple):
    """x (S, F) float32 features, y (S,) class ids, in the dataset's order; shapes without a label are left out."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


def embed(
    function: Callable[[Tensor], Tensor],
    dataset: CloudDataset,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> Features:
    """Features of every labelled shape of `dataset`.

    Args:
        function: Points (B, N, 3) -> features (B, F), such as `plain_features`. A module that it
            belongs to must be in eval mode already.
        dataset: The clouds; the points of its epoch 0 are used, whatever its current epoch.
        batch_size: Shapes at a time.
        device: Where the points are put.

    Raises:
        InputError: the dataset has no labels.
    """
    labelled = np.flatnonzero(dataset.labels >= 0)
    if not len(labelled):
        raise InputError(f"{dataset.name} has no class labels in this selection; a probe needs them")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(labelled), batch_size):
            points = dataset.fetch(labelled[start : start + batch_size].tolist(), epoch=0)["points"]
            parts.append(function(points.to(device)).float().cpu().numpy())
    return Features(np.concatenate(parts), np.asarray(dataset.labels[labelled], dtype=np.int64))


def plain_features(points: Tensor, width: int = 256, seed: int = 0) -> Tensor:
    """Features without learning: a PointNet with random weights (after Qi et al., CVPR 2017), max over the points.

    A shared MLP 3 -> 64 -> 128 -> `width` with ReLU, then the maximum over points and the mean over points, joined.

    Args:
        points: Tensor with shape (B, N, 3).
        width: Of the last layer.
        seed: Of the weights; the same on every device.

    Returns:
        Tensor with shape (B, 2 * width).
    """
    if points.ndim != 3 or points.shape[2] != 3:
        raise InputError(f"points must have shape (B, N, 3); got {tuple(points.shape)}")
    generator = torch.Generator().manual_seed(seed)
    features = points
    for outputs in (64, 128, width):
        inputs = features.shape[2]
        weight = torch.randn(inputs, outputs, generator=generator) * (2 / inputs) ** 0.5
        # The first layer's bias moves each plane away from the origin; without it all would pass through the origin.
        bias = torch.rand(outputs, generator=generator) * 2 - 1
        features = torch.relu(features @ weight.to(points) + bias.to(points))
    return torch.cat([features.amax(dim=1), features.mean(dim=1)], dim=1)


def flatten_map(
    features: Sequence[Sequence[float]] | NDArray[np.float32], seed: int = 0, method: str = "tsne"
) -> NDArray[np.float64]:
    """Positions (S, 2) of features (S, F) by t-SNE or UMAP, after standardising and PCA to at most 30 dimensions.

    Raises:
        InputError: too few shapes, or features that are not finite.
        MissingDependency: UMAP needs the package umap-learn.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < 5 or not np.isfinite(x).all():
        raise InputError(f"a map needs finite features (S, F) of at least 5 shapes; got {x.shape}")
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    x = PCA(min(30, len(x) - 1, x.shape[1]), random_state=seed).fit_transform(x)
    if method == "umap":
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingDependency("a map by UMAP needs umap-learn: pip install umap-learn (or take tsne)") from error
        made = UMAP(n_neighbors=min(15, len(x) - 1), random_state=seed).fit_transform(x)
    else:
        made = TSNE(2, perplexity=min(30.0, (len(x) - 1) / 3), init="pca", random_state=seed).fit_transform(x)
    return np.asarray(made, dtype=np.float64)

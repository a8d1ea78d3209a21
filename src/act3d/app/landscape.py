"""The map of a library: a place in two dimensions for every shape, and for a new one."""

import numpy as np
from numpy.typing import NDArray

from act3d.evaluation.features import flatten_map

MOST = 2000  # shapes that t-SNE places; the others are put among those that they are like
NEAR = 3  # shapes whose middle is the place of another one
FEWEST = 5  # for t-SNE


def positions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return places (S, 2) in [0, 1] for unit vectors (S, F); on a line where there are too few for a map."""
    count = len(vectors)
    if count < FEWEST:
        return np.stack([(np.arange(count) + 0.5) / max(count, 1), np.full(count, 0.5)], axis=1).astype(np.float32)
    mapped = np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int))
    known = flatten_map(vectors[mapped])
    low, high = known.min(axis=0), known.max(axis=0)
    known = (known - low) / np.maximum(high - low, 1e-9)
    places = np.empty((count, 2), np.float32)
    for start in range(0, count, 1024):
        rows = slice(start, start + 1024)
        places[rows] = _among(vectors[rows] @ vectors[mapped].T, known)
    places[mapped] = known
    return places


def place(similarity: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the place (2,) of a shape by its similarity (S,) to shapes whose places (S, 2) are known."""
    return _among(similarity[None], known)[0]


def _among(similarity: NDArray[np.float32], known: NDArray[np.floating]) -> NDArray[np.float32]:
    """The middle (Q, 2) of the places (S, 2) of those shapes that each is most like, by similarity (Q, S)."""
    near = np.argpartition(-similarity, min(NEAR, similarity.shape[1]) - 1, axis=1)[:, :NEAR]
    return known[near].mean(axis=1).astype(np.float32)

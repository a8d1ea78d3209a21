"""Finding the nearest shapes by embedding, and how good that is over a labelled collection."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act3d.errors import InputError

_BLOCK = 512  # queries compared with everything at once


class Scaling(NamedTuple):
    """What turns embeddings into points on a sphere: subtract `mean`, divide by `deviation`, then by the length.

    Both are (F,), measured on the collection: features of a network have offsets and scales of their own, which
    would else drown what tells shapes apart.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def __call__(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """(S, F) -> unit vectors (S, F)."""
        x = (np.asarray(vectors, dtype=np.float32) - self.mean) / self.deviation
        return np.ascontiguousarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def measure_scaling(vectors: ArrayLike) -> Scaling:
    """The scaling of a collection of vectors (S, F). A constant feature becomes 0; one shape alone stays as it is."""
    x = np.asarray(vectors, dtype=np.float32)
    if len(x) < 2:
        return Scaling(np.zeros(x.shape[1], np.float32), np.ones(x.shape[1], np.float32))
    deviation = x.std(axis=0)
    return Scaling(x.mean(axis=0), np.where(deviation > 1e-6, deviation, np.float32(1e6)).astype(np.float32))


class RetrievalQuality(NamedTuple):
    """How good search is, in percent.

    mean_ap: mean over queries of the average precision over the whole ranking.
    class_ap: its mean within every class, by label.
    recall: k -> percent of queries with at least one shape of their class among the first k.
    queries: how many were asked (those with at least one other shape of their class).
    """

    mean_ap: float
    class_ap: dict[str, float]
    recall: dict[int, float]
    queries: int


def retrieval_quality(
    queries: ArrayLike,
    query_labels: list[str],
    gallery: ArrayLike | None = None,
    gallery_labels: list[str] | None = None,
    ks: tuple[int, ...] = (1, 5, 10),
    most: int | None = None,
) -> RetrievalQuality:
    """Ask for every query which shapes of the gallery are of its class.

    Average precision is the mean, over the shapes of the query's class, of the precision at their rank (all ranks, no
    cut, no interpolation). Ties keep the gallery's order.

    Args:
        queries: Unit vectors (Q, F).
        query_labels: Class names; "" = unknown: not asked.
        gallery: Unit vectors (S, F); None = the queries themselves, each without itself.
        gallery_labels: Their class names; "" counts as a wrong answer.
        ks: For recall.
        most: Ask at most so many queries, evenly spread over those with a label; None = all.

    Raises:
        InputError: Shapes that do not fit, or no query has another shape of its class.
    """
    asked = np.asarray(queries, dtype=np.float32)
    own = gallery is None
    stored = asked if gallery is None else np.asarray(gallery, dtype=np.float32)
    theirs = query_labels if gallery_labels is None else gallery_labels
    if len(asked) != len(query_labels) or len(stored) != len(theirs) or asked.shape[1] != stored.shape[1]:
        raise InputError(
            f"queries {asked.shape}, {len(query_labels)} labels; gallery {stored.shape}, {len(theirs)} labels"
        )
    place = {name: i for i, name in enumerate(dict.fromkeys([*query_labels, *theirs]))}  # numbers compare faster
    wanted, labels = (np.array([place[name] for name in names]) for names in (query_labels, theirs))
    precision: list[float] = []
    first: list[int] = []
    of: list[str] = []
    chosen = np.flatnonzero([bool(name) for name in query_labels])
    if most is not None and len(chosen) > most:
        chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
    for start in range(0, len(chosen), _BLOCK):
        block = chosen[start : start + _BLOCK]
        similarity = asked[block] @ stored.T
        if own:
            similarity[np.arange(len(block)), block] = -np.inf  # last in every ranking, and cut off there
        order = _descending(similarity)[:, : len(stored) - own]
        hits = labels[order] == wanted[block, None]
        for query, row in zip(block, hits, strict=True):
            ranks = np.flatnonzero(row) + 1
            if len(ranks):
                precision.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
                first.append(int(ranks[0]))
                of.append(query_labels[query])
    if not precision:
        raise InputError("no shape has another one of its class to be found: labels are needed, two of a kind at least")
    names, values = np.array(of), np.array(precision)
    return RetrievalQuality(
        100 * float(values.mean()),
        {str(name): 100 * float(values[names == name].mean()) for name in np.unique(names)},
        {k: 100 * float(np.mean(np.array(first) <= k)) for k in ks},
        len(values),
    )


def _descending(similarity: NDArray[np.float32]) -> NDArray[np.int64]:
    """The stable order of every row (Q, S), the largest first: (Q, S).

    Numbers whose upper half is a value and whose lower half is its place are sorted ten times as fast as places are by
    their values, since NumPy sorts plain numbers by vector instructions.
    """
    bits = (0.0 - similarity).view(np.int32).astype(np.int64)  # 0 - x makes of both zeros the same one
    ascending = np.where(bits < 0, -(1 << 31) - bits, bits)  # floats of the same sign are ordered as their bits are
    keys = (ascending << 32) | np.arange(similarity.shape[1])
    keys.sort(axis=1)
    return keys & 0xFFFFFFFF

"""Shapes that encoders find alike, for pages: queries from test shapes, answers from training shapes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from act3d.report.pieces import Named, Retrieval

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset
    from act3d.evaluation.features import Features

QUERIES, FOUND = 4, 5
POINTS = 512  # of a shape on a page


def retrieval(
    features: "Mapping[str, Sequence[tuple[Features, Features]]]", train: "CloudDataset", test: "CloudDataset"
) -> Retrieval:
    """Return the training shapes nearest to some test shapes, as `act3d search` finds them, by several encoders.

    Args:
        features: Encoder -> features of all labelled training and test shapes, one pair a seed; the first is shown.
        train, test: The clouds.
    """
    from act3d.evaluation.retrieval import retrieval_quality

    stored, asked = np.flatnonzero(train.labels >= 0), np.flatnonzero(test.labels >= 0)
    labels = test.labels[asked]
    classes = np.unique(labels)
    chosen = classes[np.unique(np.linspace(0, len(classes) - 1, QUERIES + 2).round().astype(int))[1:-1]]
    queries = [int(np.flatnonzero(labels == label)[0]) for label in chosen]
    rows = {name: nearest(*pairs[0], queries) for name, pairs in features.items()}
    names = [[str(of.classes[label]) for label in of.labels[at]] for of, at in ((train, stored), (test, asked))]
    first = {}
    for name, pairs in features.items():
        scaled = [scaled_features(*pair) for pair in pairs]
        first[name] = [retrieval_quality(b, names[1], a, names[0], ks=(1,)).recall[1] for a, b in scaled]
    answers = []
    for place, query in enumerate(queries):
        wanted = test.labels[asked[query]]
        found = {name: _named(train, stored[of[place]].tolist(), wanted) for name, of in rows.items()}
        answers.append((_named(test, [int(asked[query])])[0], found))
    return Retrieval(len(stored), answers, first, len(asked))


def scaled_features(stored: "Features", asked: "Features") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (S, F) and (T, F) as unit vectors, scaled by the stored ones, as an index does it."""
    from act3d.evaluation.retrieval import measure_scaling

    scaling = measure_scaling(stored.x)
    return scaling(stored.x), scaling(asked.x)


def nearest(stored: "Features", asked: "Features", queries: Sequence[int], count: int = FOUND) -> NDArray[np.int64]:
    """Places (Q, count) of the stored shapes nearest to the asked ones at `queries`, nearest first."""
    gallery, wanted = scaled_features(stored, asked)
    return np.argsort(-(wanted[list(queries)] @ gallery.T), axis=1, kind="stable")[:, :count]


def small_clouds(clouds: "CloudDataset", rows: Sequence[int], points: int = POINTS) -> list[NDArray[np.float32]]:
    """The first points (P, 3) of the clouds at `rows`."""
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(rows), 256):
        batch = clouds.fetch(list(rows[start : start + 256]), 0)["points"][:, :points]
        found += list(batch.numpy())
    return found


def _named(clouds: "CloudDataset", rows: Sequence[int], wanted: int | None = None) -> list[Named]:
    """Shapes with their titles or names, and classes; right where the class is the wanted one."""
    titles = clouds.columns().get("title", clouds.names)
    return [
        Named(
            (titles[row] or clouds.names[row]).rsplit("/", 1)[-1],
            clouds.classes[clouds.labels[row]].replace("_", " "),
            cloud,
            None if wanted is None else bool(clouds.labels[row] == wanted),
        )
        for row, cloud in zip(rows, small_clouds(clouds, rows), strict=True)
    ]

"""Probes: what a simple classifier reads off frozen features. Test shapes choose nothing here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act3d.data.fewshot import QUERIES, choose_queries, draw_fold
from act3d.errors import InputError
from act3d.evaluation.features import Features
from act3d.evaluation.linear_svm import LinearMachine, moments
from act3d.processor import at_once

# On standardised features: from heavily regularised to almost none.
C_VALUES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# C is chosen on at most so many training shapes; its best value moves little with their number.
CHOICE_LIMIT = 5000
_Setting = TypeVar("_Setting", int, float)


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found on the test shapes.

    accuracy: percent of test shapes right. macc: mean over classes of the percent right.
    per_class: class id -> percent right. cv_accuracy: percent in cross-validation inside the training shapes.
    c: the SVM's chosen C (linear probe) or None; k: neighbours (k-NN probe) or None.
    predictions: (T,) predicted class ids of the test shapes.
    """

    accuracy: float
    macc: float
    per_class: dict[int, float]
    cv_accuracy: float
    c: float | None = None
    k: int | None = None
    predictions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64), repr=False)


def linear_probe(
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    seed: int = 0,
    c_values: Sequence[float] = C_VALUES,
    folds: int = 5,
) -> ProbeResult:
    """Linear SVM (one against the rest, squared hinge loss, as liblinear's) on standardised features.

    Args:
        train_x, test_x: features with shape (S, F) and (T, F).
        train_y, test_y: class ids with shape (S,) and (T,).
        seed: of the cross-validation's shuffle.
        c_values: candidates for C; the best mean accuracy wins, at a tie the smallest C.
        folds: of the stratified cross-validation, inside the training shapes only; fewer where a class is smaller.

    Raises:
        InputError: shapes that do not fit, values that are not finite, fewer than two classes.
    """
    train_x, train_y, test_x, test_y = _checked(train_x, train_y, test_x, test_y)
    if not c_values or min(c_values) <= 0:
        raise InputError(f"c_values must be positive numbers, at least one; got {tuple(c_values)}")
    values = sorted(set(c_values))

    def right(fold: tuple[NDArray[np.int64], NDArray[np.int64]]) -> list[float]:
        fit, held = fold
        machine = LinearMachine(train_x[fit], train_y[fit])
        # From small to large: each fit starts from the last one's end.
        return [float(np.mean(machine.fit(c).predict(train_x[held]) == train_y[held])) for c in values]

    scores = _mean_scores(values, at_once(right, _folds(train_y, folds, seed)))
    best = max(scores, key=lambda c: scores[c])  # a dict keeps its order: the smallest C wins a tie
    (predicted,) = at_once(lambda c: LinearMachine(train_x, train_y).fit(c).predict(test_x), [best])
    return _result(predicted, test_y, cv_accuracy=100 * scores[best], c=best)


def knn_probe(
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    seed: int = 0,
    k_values: Sequence[int] = (1, 3, 5, 10, 20),
    folds: int = 5,
) -> ProbeResult:
    """k nearest neighbours by cosine similarity of standardised features, votes weighted by similarity.

    Arguments and errors as in `linear_probe`; k is chosen by the same cross-validation inside the training shapes.
    """
    train_x, train_y, test_x, test_y = _checked(train_x, train_y, test_x, test_y)
    if not k_values or min(k_values) < 1:
        raise InputError(f"k_values must be positive whole numbers, at least one; got {tuple(k_values)}")
    values = sorted(set(k_values))

    def right(fold: tuple[NDArray[np.int64], NDArray[np.int64]]) -> list[float]:
        fit, held = fold
        found = _nearest(train_x[fit], train_y[fit], train_x[held], values)
        return [float(np.mean(classes == train_y[held])) for classes in found]

    scores = _mean_scores(values, at_once(right, _folds(train_y, folds, seed)))
    best = max(scores, key=lambda k: scores[k])
    ((predicted,),) = at_once(lambda k: _nearest(train_x, train_y, test_x, [k]), [best])
    return _result(predicted, test_y, cv_accuracy=100 * scores[best], k=best)


def probe_tasks(
    train: Features, test: Features, way: int, shot: int, tasks: int, seed: int, queries: int = QUERIES
) -> tuple[list[float], int]:
    """Linear SVMs on few-shot tasks, drawn as `act3d fewshot` draws them.

    Args:
        train, test: features of labelled shapes.
        way, shot: classes of a task, and training shapes of each.
        tasks: how many.
        seed: of tasks and cross-validation.
        queries: test shapes of a class, at most.

    Returns:
        Percent right of every task, and how many test shapes of a class they have.

    Raises:
        InputError: too few classes with enough shapes.
    """
    queries = choose_queries(train.y, test.y, [way], [shot], queries)
    found = []
    for fold in range(tasks):
        rows = draw_fold(train.y, test.y, way, shot, fold, seed, queries)
        task = (train.x[rows.train], rows.train_labels, test.x[rows.test], rows.test_labels)
        found.append(linear_probe(*task, seed=seed).accuracy)
    return found, queries


def _checked(
    train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    train_x, test_x = np.asarray(train_x, dtype=np.float64), np.asarray(test_x, dtype=np.float64)
    train_y, test_y = np.asarray(train_y, dtype=np.int64), np.asarray(test_y, dtype=np.int64)
    for name, x, y in (("training", train_x, train_y), ("test", test_x, test_y)):
        if x.ndim != 2 or y.ndim != 1 or len(x) != len(y) or not len(x):
            raise InputError(f"{name} features and labels must be (S, F) and (S,), S > 0; got {x.shape} and {y.shape}")
        if not np.isfinite(x).all():
            raise InputError(f"{name} features hold values that are not finite")
    if train_x.shape[1] != test_x.shape[1]:
        raise InputError(f"training and test features differ in width: {train_x.shape} and {test_x.shape}")
    if len(np.unique(train_y)) < 2:
        raise InputError("a probe needs training shapes of at least two classes")
    return train_x, train_y, test_x, test_y


def _folds(y: NDArray[np.int64], folds: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(fit, held out) index pairs, each class spread over the folds as evenly as possible; of CHOICE_LIMIT shapes.

    scikit-learn's StratifiedKFold shuffles in another way: on the shipped sample it chose another C in 4 of 12 cases,
    and published numbers of the quickstart would change with it. It also refuses classes smaller than the folds.
    """
    if folds < 2:
        raise InputError(f"folds must be at least 2; got {folds}")
    rng = np.random.default_rng([seed % 2**32, len(y)])
    rows = rng.permutation(len(y))[:CHOICE_LIMIT]
    rows = rows[np.argsort(y[rows], kind="stable")]
    # Shapes in class order go to the folds in turn: folds differ by one shape at most, in all and in every class.
    place = np.arange(len(rows)) % folds
    pairs = [(np.sort(rows[place != fold]), np.sort(rows[place == fold])) for fold in range(folds)]
    usable = [(fit, held) for fit, held in pairs if len(held) and len(np.unique(y[fit])) >= 2]
    if not usable:
        raise InputError(f"too few training shapes to choose a setting by cross-validation: {len(y)}")
    return usable


def _mean_scores(values: list[_Setting], by_fold: list[list[float]]) -> dict[_Setting, float]:
    """Mean over the folds of the share that every value got right, added up fold by fold."""
    scores = dict.fromkeys(values, 0.0)
    for shares in by_fold:
        for value, share in zip(values, shares, strict=True):
            scores[value] += share / len(by_fold)
    return scores


def _nearest(
    train_x: NDArray[Any], train_y: NDArray[np.int64], other: NDArray[Any], k_values: list[int]
) -> list[NDArray[np.int64]]:
    """Classes (T,) of `other` by the vote of the k training shapes most similar to each, for every k."""
    from sklearn.neighbors import NearestNeighbors

    mean, spread = moments(train_x)
    search = NearestNeighbors(n_neighbors=min(max(k_values), len(train_x)), algorithm="brute", metric="cosine")
    distance, index = search.fit((train_x - mean) / spread).kneighbors((other - mean) / spread)
    classes, label = np.unique(train_y, return_inverse=True)
    votes = np.zeros((len(other), len(classes)))
    rows, done, found = np.arange(len(other)), 0, []
    for k in k_values:  # in ascending order: each goes on from the votes of the last
        for place in range(done, min(k, index.shape[1])):
            # Cosine similarity is 1 - distance, in [-1, 1]; 1 + similarity keeps every vote positive.
            votes[rows, label[index[:, place]]] += 2 - distance[:, place]
        done = max(done, min(k, index.shape[1]))
        found.append(np.asarray(classes[votes.argmax(axis=1)]))
    return found


def _result(predicted: NDArray[np.int64], truth: NDArray[np.int64], **rest: Any) -> ProbeResult:
    right = predicted == truth
    per_class = {int(c): 100 * float(right[truth == c].mean()) for c in np.unique(truth)}
    return ProbeResult(
        accuracy=100 * float(right.mean()),
        macc=float(np.mean(list(per_class.values()))),
        per_class=per_class,
        predictions=predicted,
        **rest,
    )

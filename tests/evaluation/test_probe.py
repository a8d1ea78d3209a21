import numpy as np
import pytest

from act3d.errors import InputError
from act3d.evaluation import linear_svm, probe
from act3d.evaluation.linear_svm import LinearMachine
from act3d.evaluation.probe import knn_probe, linear_probe


def blobs(per_class=20, classes=4, width=16, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), per_class)
    centers = np.random.default_rng(1).normal(size=(classes, width))
    return centers[y] + noise * rng.normal(size=(len(y), width)), y


@pytest.mark.parametrize("run", [linear_probe, knn_probe])
def test_separable_classes_are_all_found_and_labels_need_not_count_from_zero(run):
    x, y = blobs(noise=0.2)
    test_x, test_y = blobs(noise=0.2, seed=5)
    result = run(x, 10 * y + 3, test_x, 10 * test_y + 3)
    assert result.accuracy == result.macc == 100
    assert result.per_class == {3: 100.0, 13: 100.0, 23: 100.0, 33: 100.0}
    assert set(result.predictions) == {3, 13, 23, 33}


@pytest.mark.parametrize("run", [linear_probe, knn_probe])
def test_features_without_information_give_chance(run):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    result = run(rng.normal(size=(400, 8)), y, rng.normal(size=(400, 8)), y)
    assert 15 < result.accuracy < 35


def test_accuracy_counts_shapes_and_macc_counts_classes():
    x, y = blobs(classes=2, noise=0.1)
    # Ten shapes of class 0 right, one of class 1 and one of "class 1" that looks like class 0.
    test_x = np.concatenate([x[:10], x[-1:], x[:1]])
    result = linear_probe(x, y, test_x, np.array([0] * 10 + [1, 1]))
    assert result.accuracy == pytest.approx(100 * 11 / 12)
    assert result.macc == pytest.approx(75)
    assert result.per_class == {0: 100.0, 1: 50.0}


def test_the_test_shapes_choose_nothing():
    x, y = blobs(noise=2.0)
    a = linear_probe(x, y, x[:5], y[:5])
    b = linear_probe(x, y, 1e3 * x[:40] + 7, 3 - y[:40])
    assert (a.c, a.cv_accuracy) == (b.c, b.cv_accuracy)


def test_the_same_seed_gives_the_same_result():
    x, y = blobs(noise=2.0)
    test_x, test_y = blobs(noise=2.0, seed=5)
    a, b = (linear_probe(x, y, test_x, test_y, seed=3) for _ in range(2))
    assert (a.accuracy, a.c, a.cv_accuracy) == (b.accuracy, b.c, b.cv_accuracy)
    assert (a.predictions == b.predictions).all()


def test_a_feature_that_only_moves_in_testing_does_not_matter():
    x, y = blobs()
    test_x, test_y = blobs(seed=5)
    constant = np.full((len(x), 1), 1e6)
    wild = np.random.default_rng(0).normal(size=(len(test_x), 1)) * 1e9
    plain = linear_probe(x, y, test_x, test_y)
    joined = linear_probe(np.hstack([x, constant]), y, np.hstack([test_x, wild]), test_y)
    assert joined.accuracy == plain.accuracy


def test_scale_of_features_does_not_matter():
    x, y = blobs(noise=1.5)
    test_x, test_y = blobs(noise=1.5, seed=5)
    factor = np.logspace(-6, 6, x.shape[1])
    assert (
        linear_probe(x * factor, y, test_x * factor, test_y).predictions
        == linear_probe(x, y, test_x, test_y).predictions
    ).all()


@pytest.mark.parametrize("width", [8, 200])
@pytest.mark.parametrize("c", [0.001, 0.1])
def test_the_machine_is_liblinears(width, c):
    from sklearn.svm import LinearSVC

    x, y = blobs(noise=2.0, width=width)
    test_x, _ = blobs(noise=2.0, width=width, seed=5)
    mean, spread = x.mean(0), x.std(0)
    peer = LinearSVC(C=c, tol=1e-6, max_iter=100_000).fit((x - mean) / spread, y)
    machine = LinearMachine(x, y).fit(c, tolerance=1e-12)
    np.testing.assert_allclose(machine.scores(test_x), peer.decision_function((test_x - mean) / spread), atol=1e-3)
    assert (machine.predict(test_x) == peer.predict((test_x - mean) / spread)).all()


def test_c_is_chosen_on_a_part_of_many_shapes(monkeypatch):
    x, y = blobs(per_class=30, noise=0.3)
    monkeypatch.setattr(probe, "CHOICE_LIMIT", 40)
    pairs = probe._folds(y, 5, seed=0)
    assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == sorted({*pairs[0][0], *pairs[0][1]})
    assert all(len(fit) + len(held) == 40 and not set(fit) & set(held) for fit, held in pairs)
    assert linear_probe(x, y, x, y).accuracy == 100


def test_folds_hold_every_class_evenly():
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [25, 10, 5, 13]))
    counts = np.array([np.bincount(y[held], minlength=4) for _, held in probe._folds(y, 5, seed=1)])
    assert (counts.max(0) - counts.min(0) <= 1).all()
    assert np.ptp(counts.sum(1)) <= 1


def test_small_classes_are_probed_with_fewer_folds_or_without_strata():
    x, y = blobs(per_class=3)
    assert linear_probe(x, y, x, y).accuracy == 100
    once = np.array([0, 20, 21, 22, 40, 41, 42])
    x, y = blobs(noise=0.1)
    assert linear_probe(x[once], y[once], x[once], y[once]).accuracy == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: (a[0][:-1], *a[1:]), "labels must be"),
        (lambda a: (a[0], a[1], a[2][:, :3], a[3]), "differ in width"),
        (lambda a: (a[0], a[1] * 0, a[2], a[3]), "two classes"),
        (lambda a: (a[0], a[1], a[2] * np.nan, a[3]), "not finite"),
        (lambda a: (a[0], a[1], a[2][:0], a[3][:0]), "test features"),
    ],
)
def test_what_cannot_be_probed_is_refused(change, message):
    x, y = blobs()
    with pytest.raises(InputError, match=message):
        linear_probe(*change((x, y, x, y)))


def test_settings_out_of_bounds_are_refused():
    x, y = blobs()
    with pytest.raises(InputError, match="folds"):
        linear_probe(x, y, x, y, folds=1)
    with pytest.raises(InputError, match="c_values"):
        linear_probe(x, y, x, y, c_values=[])
    with pytest.raises(InputError, match="k_values"):
        knn_probe(x, y, x, y, k_values=[0])


@pytest.mark.parametrize("width", [8, 60])
def test_newtons_method_ends_at_the_minimum_that_descent_comes_close_to(width, monkeypatch):
    x, y = blobs(per_class=60, noise=1.0, width=width)
    for c in (0.1, 1.0, 10.0):
        machines = []
        for few in (0.0, np.inf):  # never Newton's method, always
            monkeypatch.setattr(linear_svm, "FEW_INSIDE", few)
            machines.append(LinearMachine(x, y).fit(c, steps=5000, tolerance=1e-13))
        plain, exact = machines
        short = np.maximum(0, 1 - exact.targets * (exact.x @ exact.weights))
        slope = exact.weights - 2 * c * (exact.x.T @ (short * exact.targets))
        assert np.abs(slope).max() < 1e-6 * np.abs(2 * c * exact.x.T @ exact.targets).max()
        np.testing.assert_allclose(plain.scores(x), exact.scores(x), atol=2e-3)
        assert (plain.predict(x) == exact.predict(x)).all()


def test_neighbours_vote_as_scikit_learns_do():
    from sklearn.neighbors import KNeighborsClassifier

    x, y = blobs(per_class=30, noise=2.5)
    other, _ = blobs(noise=2.5, seed=5)
    mean, spread = x.mean(0), x.std(0)
    for k, found in zip((1, 3, 20, 500), probe._nearest(x, y, other, [1, 3, 20, 500]), strict=True):
        peer = KNeighborsClassifier(min(k, len(x)), algorithm="brute", metric="cosine", weights=lambda d: 2 - d)
        assert (found == peer.fit((x - mean) / spread, y).predict((other - mean) / spread)).all()


def test_a_fit_that_starts_from_another_ends_at_the_same_place():
    x, y = blobs(noise=2.0, width=60)
    warm = LinearMachine(x, y).fit(0.001).fit(0.1).fit(1.0, tolerance=1e-12)
    cold = LinearMachine(x, y).fit(1.0, tolerance=1e-12)
    np.testing.assert_allclose(warm.scores(x), cold.scores(x), atol=1e-3)


@pytest.mark.parametrize("run", [linear_probe, knn_probe])
def test_folds_at_once_give_what_folds_one_after_another_do(run, monkeypatch):
    x, y = blobs(noise=3.0, width=30)
    test_x, test_y = blobs(noise=3.0, width=30, seed=5)
    together = run(x, y, test_x, test_y)
    monkeypatch.setattr(probe, "at_once", lambda work, items: [work(item) for item in items])
    alone = run(x, y, test_x, test_y)
    assert (together.predictions == alone.predictions).all()
    assert (together.accuracy, together.cv_accuracy, together.c, together.k) == (
        alone.accuracy,
        alone.cv_accuracy,
        alone.c,
        alone.k,
    )

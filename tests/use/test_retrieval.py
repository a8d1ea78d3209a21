"""Average precision and recall against numbers worked out by hand."""

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.evaluation.retrieval import _descending, measure_scaling, retrieval_quality


def angle(*degrees: float) -> np.ndarray:
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_against_a_gallery() -> None:
    # ranks of class a from the query at 0 degrees: 1st and 3rd of 4
    found = retrieval_quality(angle(0), ["a"], angle(5, 10, 20, 90), ["a", "b", "a", ""], ks=(1, 2))
    assert found.mean_ap == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found.recall == {1: 100.0, 2: 100.0}
    found = retrieval_quality(angle(12), ["a"], angle(5, 10, 20, 90), ["a", "b", "a", ""], ks=(1, 2))
    assert found.mean_ap == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert found.recall == {1: 0.0, 2: 100.0}


def test_each_among_the_others_never_finds_itself() -> None:
    found = retrieval_quality(angle(0, 1, 50, 90), ["a", "b", "a", "c"], ks=(1,))
    # c is alone: not asked; b too; a at 0 finds b, then a; a at 50 finds c, b, a
    assert found.queries == 2
    assert found.mean_ap == pytest.approx(100 * (1 / 2 + 1 / 3) / 2)
    assert found.recall[1] == 0


def test_nothing_to_find() -> None:
    with pytest.raises(InputError, match="labels"):
        retrieval_quality(angle(0, 1), ["a", "b"])
    with pytest.raises(InputError, match="labels"):
        retrieval_quality(angle(0, 1), ["a"])


def test_scaling_makes_unit_vectors_and_drops_constants() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * [1, 100, 1, 0] + [5, 0, 0, 3]
    unit = measure_scaling(x)(x)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    assert np.allclose(unit[:, 3], 0)
    assert unit[:, 0].std() == pytest.approx(unit[:, 1].std(), rel=0.3)
    assert np.isfinite(measure_scaling(x[:1])(x[:1])).all()


def test_rankings_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 700)).astype(np.float32).round(1)  # many ties
    rows[1], rows[1, ::2] = 0.0, -0.0
    rows[2, :3] = [-np.inf, np.inf, np.inf]
    rows[3, :4] = [np.float32(1e-45), np.float32(-1e-45), np.finfo(np.float32).max, -np.finfo(np.float32).max]
    assert np.array_equal(_descending(rows), np.argsort(-rows, axis=1, kind="stable"))

"""The rule that chooses which examples are shown."""

import numpy as np

from benchmarks.examples import pick


def test_examples_are_the_first_allowed_ones_of_different_classes() -> None:
    classes = np.array([0, 0, 1, 2, 1, 3, 4, 5, 6])
    allowed = np.array([False, True, True, True, True, True, True, True, True])
    assert pick([0, 4, 1, 2, 3, 8, 7, 6, 5], classes, allowed) == [4, 1, 3, 8, 7]
    assert pick([0, 1], classes, allowed) == [1]

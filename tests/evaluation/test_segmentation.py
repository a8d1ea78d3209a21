"""Metrics of segmentation against plain loops, and on cases whose answer is known."""

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.evaluation.segmentation import PartScores, SceneScores, part_ious

PARTS = {"mug": [3, 4], "lamp": [0, 1, 2], "plate": [5]}
NAMES = ["lamp", "mug", "plate"]


def loop_part_miou(predicted: np.ndarray, truth: np.ndarray, category: np.ndarray) -> tuple[float, float, float]:
    """Instance mIoU, class mIoU and accuracy, written the long way."""
    by_category: dict[int, list[float]] = {}
    every, right, points = [], 0, 0
    for guess, true, label in zip(predicted, truth, category, strict=True):
        ious = []
        for part in PARTS[NAMES[label]]:
            both = either = 0
            for a, b in zip(guess, true, strict=True):
                if b == -1:
                    continue
                both += a == part and b == part
                either += a == part or b == part
            ious.append(both / either if either else 1.0)
        for a, b in zip(guess, true, strict=True):
            right += b != -1 and a == b
            points += b != -1
        every.append(sum(ious) / len(ious))
        by_category.setdefault(label, []).append(every[-1])
    means = [sum(v) / len(v) for v in by_category.values()]
    return 100 * sum(every) / len(every), 100 * sum(means) / len(means), 100 * right / points


def test_parts_equal_plain_loops() -> None:
    rng = np.random.default_rng(0)
    category = rng.integers(0, 3, 30)
    choices = [np.array(PARTS[NAMES[label]]) for label in category]
    truth = np.stack([rng.choice(parts[: rng.integers(1, len(parts) + 1)], 25) for parts in choices])
    predicted = np.stack([rng.choice(parts, 25) for parts in choices])
    truth[rng.random(truth.shape) < 0.1] = -1
    scores = PartScores(NAMES, PARTS)
    for rows in (slice(0, 7), slice(7, 30)):
        scores.add(predicted[rows], truth[rows], category[rows])
    found = scores.result()
    expected = loop_part_miou(predicted, truth, category)
    assert (found["instance_miou"], found["class_miou"], found["accuracy"]) == pytest.approx(expected)
    assert sum(row["shapes"] for row in found["categories"].values()) == 30


def test_a_part_absent_from_both_counts_one_and_a_wrongly_predicted_one_zero() -> None:
    truth = np.array([0, 0, 0, 0])
    assert part_ious(truth, truth, [0, 1, 2]).tolist() == [1, 1, 1]
    assert part_ious(np.array([0, 0, 0, 1]), truth, [0, 1, 2]).tolist() == [0.75, 0, 1]


def test_parts_of_another_category_are_refused() -> None:
    with pytest.raises(InputError, match="do not belong to category 'mug'"):
        PartScores(NAMES, PARTS).add(np.array([[3, 4]]), np.array([[3, 0]]), np.array([1]))
    with pytest.raises(InputError, match="no shape"):
        PartScores(NAMES, PARTS).result()


def test_scenes_equal_plain_loops() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(-1, 4, (3, 200)), rng.integers(0, 4, (3, 200))
    scores = SceneScores(["a", "b", "c", "d", "never"])
    scores.add(predicted[:1], truth[:1])
    scores.add(predicted[1:].reshape(-1), truth[1:].reshape(-1))
    found = scores.result()
    ious, accuracies, right, points = [], [], 0, 0
    for name in range(4):
        hit = union = total = 0
        for a, b in zip(predicted.flat, truth.flat, strict=True):
            if b == -1:
                continue
            hit += a == name and b == name
            union += a == name or b == name
            total += b == name
        ious.append(hit / union)
        accuracies.append(hit / total)
        right, points = right + hit, points + total
    assert found["miou"] == pytest.approx(100 * sum(ious) / 4)
    assert found["macc"] == pytest.approx(100 * sum(accuracies) / 4)
    assert found["oa"] == pytest.approx(100 * right / points)
    assert found["points"] == points
    assert found["classes"]["never"] == {"iou": None, "accuracy": None, "points": 0}


def test_a_class_that_is_only_predicted_lowers_the_mean_iou() -> None:
    scores = SceneScores(["a", "b"])
    scores.add(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    found = scores.result()
    assert found["miou"] == pytest.approx((75 + 0) / 2)
    assert found["macc"] == pytest.approx(75)

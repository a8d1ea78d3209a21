"""Metrics of segmentation: instance and class mIoU of parts; mIoU, mAcc and OA of scenes. All in percent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from act3d.data.rooms import UNLABELLED
from act3d.errors import InputError


class PartScores:
    """Intersection over union of parts, gathered shape by shape.

    The IoU of a shape is the mean over all parts its category has; a part that is neither there nor predicted counts
    1. Instance mIoU is the mean over shapes, class mIoU the mean over categories of the mean over their shapes.

    Args:
        categories: Names of the categories.
        parts: Part ids of each category, by its name.
    """

    def __init__(self, categories: Sequence[str], parts: Mapping[str, Sequence[int]]) -> None:
        self.categories, self.parts = list(categories), {name: list(parts.get(name, ())) for name in categories}
        self.labels: list[int] = []
        self.ious: list[float] = []
        self.right = self.points = 0

    def add(self, predicted: np.ndarray, truth: np.ndarray, category: np.ndarray) -> None:
        """Take in predictions (B, N) and true part ids (B, N), -1 = unlabelled, of shapes of these categories (B,).

        Raises:
            InputError: Shapes that do not fit, or a part that the category does not have.
        """
        if predicted.shape != truth.shape or category.shape != truth.shape[:1]:
            raise InputError(f"predicted {predicted.shape}, truth {truth.shape}, category {category.shape} do not fit")
        for row, label in enumerate(category.tolist()):
            parts = self.parts[self.categories[label]]
            labelled = truth[row] != UNLABELLED
            true, guess = truth[row][labelled], predicted[row][labelled]
            if not np.isin(true, parts).all():
                wrong = np.setdiff1d(true, parts).tolist()
                raise InputError(
                    f"parts {wrong} do not belong to category {self.categories[label]!r}, which has {parts}"
                )
            if not len(true):
                continue
            self.ious.append(float(part_ious(guess, true, parts).mean()))
            self.labels.append(label)
            self.right += int((guess == true).sum())
            self.points += len(true)

    def result(self) -> dict[str, Any]:
        """Numbers in percent: "instance_miou", "class_miou", "accuracy" of points, and "categories" with each one's.

        Raises:
            InputError: Nothing was taken in.
        """
        if not self.ious:
            raise InputError("no shape has part labels")
        ious, labels = np.array(self.ious), np.array(self.labels)
        table = {
            self.categories[label]: {"shapes": int((labels == label).sum()), "miou": 100 * ious[labels == label].mean()}
            for label in np.unique(labels)
        }
        return {
            "instance_miou": 100 * float(ious.mean()),
            "class_miou": float(np.mean([row["miou"] for row in table.values()])),
            "accuracy": 100 * self.right / self.points,
            "categories": {name: {**row, "miou": float(row["miou"])} for name, row in table.items()},
        }


def part_ious(predicted: np.ndarray, truth: np.ndarray, parts: Sequence[int]) -> np.ndarray:
    """Intersection over union (P,) of each of `parts` between two labellings (N,); 1 where a part is in neither."""
    wanted = np.asarray(parts)[:, None]
    a, b = predicted == wanted, truth == wanted  # (P, N)
    both, either = (a & b).sum(axis=1), (a | b).sum(axis=1)
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


@dataclass
class SceneScores:
    """Confusion of scene classes, gathered block by block or room by room: rows are true, columns predicted."""

    classes: list[str]

    def __post_init__(self) -> None:
        self.confusion = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Take in labels of the same shape; points whose truth is -1 do not count."""
        if predicted.shape != truth.shape:
            raise InputError(f"predicted {predicted.shape} and truth {truth.shape} do not fit")
        number, labelled = len(self.classes), truth != UNLABELLED
        flat = truth[labelled].astype(np.int64) * number + predicted[labelled]
        self.confusion += np.bincount(flat, minlength=number * number).reshape(number, number)

    def result(self) -> dict[str, Any]:
        """Numbers in percent: "miou", "macc", "oa", "points", and "classes" with IoU, accuracy and points of each.

        A class that neither occurs nor is predicted has no IoU and counts in no mean; one that does not occur has no
        accuracy.

        Raises:
            InputError: No point has a label.
        """
        total = int(self.confusion.sum())
        if not total:
            raise InputError("no point has a label")
        hit, true = np.diag(self.confusion), self.confusion.sum(axis=1)
        union = true + self.confusion.sum(axis=0) - hit
        iou = np.where(union > 0, 100 * hit / np.maximum(union, 1), np.nan)
        accuracy = np.where(true > 0, 100 * hit / np.maximum(true, 1), np.nan)
        table = {
            name: {
                "iou": None if np.isnan(iou[i]) else float(iou[i]),
                "accuracy": None if np.isnan(accuracy[i]) else float(accuracy[i]),
                "points": int(true[i]),
            }
            for i, name in enumerate(self.classes)
        }
        return {
            "miou": float(np.nanmean(iou)),
            "macc": float(np.nanmean(accuracy)),
            "oa": 100 * float(hit.sum()) / total,
            "points": total,
            "classes": table,
        }

"""Testing a classifier, a segmenter of parts or one of scenes on labelled data, treated as in training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from act3d.data.clouds import CloudDataset
from act3d.data.opening import check_class_count, check_class_names, choose_source, open_for_model
from act3d.data.rooms import Room, RoomFolder, open_rooms
from act3d.data.views import PartClouds
from act3d.evaluation.classification import ClassScores, score, vote
from act3d.evaluation.parts import score_parts
from act3d.evaluation.scenes import Cut, score_rooms
from act3d.tables import Table, Tabular

MISTAKES, MISTAKE_POINTS = 500, 512  # misclassified clouds that are kept to be shown, and points of each
POINTS = 2048  # points of a block, if neither settings nor checkpoint say
# Writes the labels (n,) of a room that belongs to a folder of rooms; returns the files.
KeepRoom = Callable[[RoomFolder, Room, np.ndarray], list[Path]]


class Mistake(NamedTuple):
    """A cloud taken for another class: its name, true and predicted class ids, and some points (n, 3), y up."""

    name: str
    truth: int
    predicted: int
    points: np.ndarray


@dataclass(repr=False)
class EvaluationReport(Tabular):
    """Result of `evaluate`.

    Attributes:
        task: "classes", "parts" or "scenes".
        metrics: the numbers of results.json, in percent.
        data: name, fingerprint, split, number of clouds or rooms, points, normalization.
        notes: what was chosen for the user. warnings: what differs from training. One line each.
        votes: passes that were averaged; 0 = one plain pass.
        scores: of a classifier, with its confusion matrix.
        mistakes: of a classifier, the clouds that were taken for another class; 500 at most, evenly spread.
    """

    task: str
    metrics: dict[str, Any]
    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    votes: int = 0
    scores: ClassScores | None = None
    mistakes: list[Mistake] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<EvaluationReport on {self.data['name']} ({self.data['split']}): {self.summary()}>"

    def table(self) -> Table:
        """Return one row a class or category."""
        about = self.data
        title = f"{about['name']} ({about['split']}), {about['clouds']} {about['unit']} of {about['points']} points"
        if self.task == "classes":
            counts, right = self.metrics["counts"], self.metrics["per_class"]
            return Table(["class", "clouds", "% right"], [[name, counts[name], right[name]] for name in right], title)
        return segmentation_table(self.metrics, title)

    def summary(self) -> str:
        """Return the main numbers in one line."""
        m = self.metrics
        if self.task == "classes":
            how = f"{self.votes} votes" if self.votes else "no vote"
            return f"OA {m['oa']:.2f} %, mAcc {m['macc']:.2f} %, {how}"
        return segmentation_summary(m)


def segmentation_table(metrics: Mapping[str, Any], title: str = "") -> Table:
    """Return one row a category of parts, or a class of scenes."""
    if "categories" in metrics:
        rows = [[name, row["shapes"], row["miou"]] for name, row in metrics["categories"].items()]
        return Table(["category", "shapes", "mIoU"], rows, title)
    rows = [[name, row["points"], row["iou"], row["accuracy"]] for name, row in metrics["classes"].items()]
    return Table(["class", "points", "IoU", "accuracy"], rows, title)


def segmentation_summary(metrics: Mapping[str, Any]) -> str:
    """Return the main numbers of a segmenter in one line, of parts or of scenes."""
    m = metrics
    if "categories" in m:
        text = f"instance mIoU {m['instance_miou']:.2f}, class mIoU {m['class_miou']:.2f}, accuracy {m['accuracy']:.2f}"
        if "votes" in m:
            text += f"; {m['votes']} votes: {m['instance_miou_voted']:.2f}, {m['class_miou_voted']:.2f}"
        return text
    blocks = m["blocks"]
    return (
        f"whole rooms, {m['votes']} votes: mIoU {m['miou']:.2f}, mAcc {m['macc']:.2f}, OA {m['oa']:.2f}; "
        f"blocks: {blocks['miou']:.2f}, {blocks['macc']:.2f}, {blocks['oa']:.2f}"
    )


def evaluate_classifier(
    model: Any, meta: Mapping[str, Any], data: Mapping[str, Any], batch_size: int, votes: int = 0, seed: int = 0
) -> EvaluationReport:
    """Test a classifier.

    Args:
        model: in eval mode, on its device.
        meta: what its checkpoint says.
        data: which clouds: arguments of `open_for_model` by name.
        batch_size: clouds at once.
        votes, seed: see `act3d.evaluation.classification.vote`.

    Raises:
        CheckpointError: the dataset has other classes, or the same in another order.
        InputError: data that cannot be used.
    """
    opened = open_for_model(meta, **data, all_points=True, labelled=True)
    clouds = opened.clouds
    if meta.get("classes"):
        check_class_names(meta["classes"], clouds.classes, clouds.name)
    check_class_count(model.classes, clouds.classes, clouds.name)
    predicted = vote(model, clouds, opened.points, votes, batch_size, seed).argmax(dim=1).numpy()
    scores = score(predicted, clouds.labels, clouds.classes)
    about = _about(clouds, data, opened.points)
    warnings = [*_unknown_points(meta, opened.points), *opened.warnings]
    mistakes = _mistakes(clouds, predicted)
    return EvaluationReport("classes", scores.as_metrics(), about, opened.notes, warnings, votes, scores, mistakes)


def _mistakes(clouds: CloudDataset, predicted: np.ndarray) -> list[Mistake]:
    wrong = np.flatnonzero(predicted != clouds.labels)
    if len(wrong) > MISTAKES:
        wrong = wrong[np.linspace(0, len(wrong) - 1, MISTAKES).round().astype(int)]
    found = []
    for start in range(0, len(wrong), 64):
        rows = wrong[start : start + 64]
        points = clouds.fetch(rows.tolist(), 0)["points"][:, :MISTAKE_POINTS, :3].numpy()
        found += [
            Mistake(clouds.names[row], int(clouds.labels[row]), int(predicted[row]), cloud)
            for row, cloud in zip(rows, points, strict=True)
        ]
    return found


def evaluate_parts(
    model: Any, meta: Mapping[str, Any], data: Mapping[str, Any], batch_size: int, votes: int = 0, seed: int = 0
) -> EvaluationReport:
    """Test a segmenter of parts on shapes; arguments and errors as those of `evaluate_classifier`."""
    opened = open_for_model(meta, **data)
    clouds = PartClouds(opened.clouds, _trained(meta, "segmenter").get("leave_out", ""))
    for what, known, found, count in (
        ("categories", meta.get("classes"), clouds.classes, model.categories),
        ("parts", meta.get("parts"), clouds.parts, model.classes),
    ):
        if known:
            check_class_names(known, found, clouds.name, what)
        check_class_count(count, found, clouds.name, what)
    metrics = score_parts(model, clouds, batch_size, votes, seed)
    about = _about(clouds, data, opened.points) | {"unit": "shapes"}
    warnings = [*_unknown_points(meta, opened.points), *opened.warnings]
    return EvaluationReport("parts", metrics, about, opened.notes, warnings, votes)


def evaluate_scenes(
    model: nn.Module,
    meta: Mapping[str, Any],
    data: Mapping[str, Any],
    batch_size: int,
    votes: int = 0,
    keep: KeepRoom | None = None,
) -> EvaluationReport:
    """Test a segmenter of scenes on rooms, cut as they were in training.

    Args:
        model: in eval mode, on its device.
        meta: what its checkpoint says.
        data: `root`, and `split`: "test" = the test rooms of training, else names or beginnings of names.
        batch_size: blocks at once.
        votes: passes over a whole room; 0 = as in the test after training.
        keep: writes the labels of a room.

    Raises:
        CheckpointError: the rooms have other classes, or the same in another order.
        InputError: data that cannot be used.
    """
    source = choose_source(meta, data.get("root", ""))
    folder = open_rooms(source.root)
    if meta.get("classes"):
        check_class_names(meta["classes"], folder.classes, folder.name)
    check_class_count(int(model.classes), folder.classes, folder.name)  # type: ignore[arg-type]
    trained, split = _trained(meta, "scenes"), data.get("split") or "test"
    rooms = folder.choose(trained.get("held_out", "") if split == "test" else split)[1]
    points = data.get("points") or meta.get("points") or data.get("usual_points") or POINTS
    kept = {key: meta.get(key) or trained.get(key) for key in ("block", "stride", "min_points", "coverage")}
    cut = Cut(int(points), batch_size, **{key: value for key, value in kept.items() if value is not None})
    passes = votes or int(trained.get("votes", 3))
    metrics = score_rooms(model, folder, rooms, cut, passes, keep=None if keep is None else _bound(keep, folder))
    about = {"name": folder.name, "fingerprint": folder.fingerprint, "split": split, "clouds": len(rooms)}
    about |= {"points": cut.points, "normalization": "none", "unit": "rooms, cut into blocks", "rooms": rooms}
    warnings = _unknown_points(meta, cut.points)
    data_of = meta.get("data") or {}
    if data_of.get("name") == folder.name and data_of.get("fingerprint") not in (None, folder.fingerprint):
        warnings.append(
            f"{folder.name} has fingerprint {folder.fingerprint}; the model was trained on {data_of['fingerprint']}"
        )
    if meta.get("points") and cut.points != meta["points"]:
        warnings.append(f"{cut.points} points a block; the model was trained with {meta['points']}")
    return EvaluationReport("scenes", metrics, about, source.notes, warnings, passes)


def _bound(keep: KeepRoom, folder: RoomFolder) -> Callable[[Room, np.ndarray], list[Path]]:
    return lambda room, labels: keep(folder, room, labels)


def _trained(meta: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """The settings of a section in the run that made a checkpoint."""
    settings = meta.get("settings")
    found = settings.get(section) if isinstance(settings, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _unknown_points(meta: Mapping[str, Any], points: int) -> list[str]:
    known = bool(meta.get("points"))
    return [] if known else [f"the checkpoint does not say how many points it was trained with; {points} are used"]


def _about(clouds: CloudDataset, data: Mapping[str, Any], points: int) -> dict[str, Any]:
    return {
        "name": clouds.name,
        "fingerprint": clouds.fingerprint,
        "split": data.get("split", "test"),
        "clouds": len(clouds),
        "points": points,
        "normalization": clouds.normalization,
        "unit": "clouds",
    }

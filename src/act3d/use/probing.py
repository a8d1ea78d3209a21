"""Frozen features of a checkpoint's encoder, tested by simple classifiers: a checkpoint and a dataset -> a report."""

from collections.abc import Mapping
from typing import Any

from act3d import checkpoints
from act3d.data.opening import open_for_model
from act3d.errors import CheckpointError
from act3d.evaluation.frozen_encoder import ProbeReport, probe_encoder
from act3d.models.encoder import EncoderModel
from act3d.models.student import Student
from act3d.settings.data import ProbeData
from act3d.supervision import supervision_of


def probe_checkpoint(checkpoint: str, data: ProbeData, seed: int = 0, device: str = "auto") -> ProbeReport:
    """Return what simple classifiers read off the frozen features of a checkpoint's encoder.

    Args:
        checkpoint: run folder, native or released file.
        data: the labelled shapes; what is not named is as in training.
        seed: of random weights, of the cross-validation and of the points drawn.
        device: a name for `choose_device`.

    Raises:
        CheckpointError: no such checkpoint, damaged, or without an encoder.
        InputError: no such data, or no labels.
    """
    loaded = checkpoints.load(checkpoint, device, expect=(Student, EncoderModel))
    loaded.model.requires_grad_(False)
    train, test = (
        open_for_model(
            loaded.meta, data.root, split, data.points, data.normalize, data.subset, data.up, seed=seed, labelled=True
        )
        for split in (data.split, data.test_split)
    )
    before, note = started_from(loaded.model, loaded.meta)
    report = probe_encoder(loaded.model, train.clouds, test.clouds, data.batch_size, seed, before)
    report.data |= {"split": data.split, "test_split": data.test_split}
    report.supervision = supervision_of(loaded.meta)
    report.notes = [*train.notes, *train.warnings, *([note] if note else [])]
    return report


def started_from(model: Any, meta: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the frozen model that a model's training started from, or None; and why, if it is not to be had."""
    start = meta.get("start")
    place = start.get("checkpoint") if isinstance(start, Mapping) else ""
    if not place:
        return None, ""
    try:
        found = checkpoints.load(place, next(model.parameters()).device, expect=(Student, EncoderModel)).model
    except CheckpointError as error:
        return None, f"what training started from is not compared: {error}"
    if found.channels != model.channels:
        return None, f"what training started from is not compared: {place} knows other channels"
    return found.requires_grad_(False), ""

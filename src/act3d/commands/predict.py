"""`act3d predict`: the class of a shape, or the part that each of its points belongs to."""

from pathlib import Path

from act3d.errors import CheckpointError, ConfigError
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.using import PredictSettings
from act3d.tables import check_table_path
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.load import load
from act3d.use.predictions import Predictions, classify_shapes, segment_shapes, shares
from act3d.use.reading import Reading
from act3d.use.scans import find_scans, label_scans
from act3d.use.segmenter_predictor import SegmenterPredictor
from act3d.use.shape_predictors import ClassifierPredictor
from act3d.use.shapes import find_shapes
from act3d.use.texts import without_names

_SHOWN = 20  # files whose labels are printed


@command
def predict(settings: PredictSettings) -> Predictions:
    """Classify shapes (a classifier), by any words (an aligned model), or label their points (a segmenter).

    Returns:
        What was found, and what could not be read.

    Raises:
        CheckpointError: no such checkpoint, or a model that names nothing.
        InputError: nothing to read, or a category that the model does not know.
    """
    predictor = load(settings.checkpoint, settings.device)
    if isinstance(predictor, AlignedPredictor):
        predictor.labels = predictor.take_labels(settings.labels)
        return _classify(predictor, settings)
    if settings.labels:
        raise ConfigError(f"labels: {without_names(predictor.kind)}")
    if isinstance(predictor, ClassifierPredictor):
        return _classify(predictor, settings)
    if isinstance(predictor, SegmenterPredictor):
        return _segment(predictor, settings)
    what = f"{settings.checkpoint}: a model of kind {predictor.kind!r}"
    raise CheckpointError(
        f"{what} names nothing; take a classifier, a segmenter or a model that learnt names (act3d align)"
    )


def _classify(predictor: ClassifierPredictor | AlignedPredictor, settings: PredictSettings) -> Predictions:
    if settings.out:
        check_table_path(settings.out)
    reading = Reading(settings.up, settings.normalize, settings.batch_size)
    shapes = find_shapes(settings.input, predictor, settings.split, reading=reading)
    report = classify_shapes(predictor, shapes, reading)
    report.refuse_nothing(settings.input)
    if not settings.out or len(report.classes) == 1:
        report.summary(settings.top).print()
    if report.right():
        say(report.right())
    if settings.out:
        report.write(Path(settings.out))
        say(f"written: {settings.out} ({len(report.classes)} shapes)")
    return report


def _segment(predictor: SegmenterPredictor, settings: PredictSettings) -> Predictions:
    if predictor.whole_rooms:
        scans = find_scans(settings.input)
        report = label_scans(predictor, scans, settings.up, settings.batch_size, settings.out)
    else:
        reading = Reading(settings.up, settings.normalize, settings.batch_size)
        shapes = find_shapes(settings.input, predictor, settings.split, reading=reading)
        report = segment_shapes(predictor, shapes, reading, settings.category, settings.out)
    report.refuse_nothing(settings.input)
    for path, labels in list(zip(report.files, report.labels.values(), strict=True))[:_SHOWN]:
        say(f"{path}: {len(labels)} points: {shares(labels, predictor.names)}")
    if len(report.files) > _SHOWN:
        say(f"... and {len(report.files) - _SHOWN} more in {settings.out}")
    return report

"""`act3d show`: a figure of a checkpoint and any shapes, for a page or a paper."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import ConfigError, InputError
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.using import ShowSettings

if TYPE_CHECKING:
    from act3d.models.autoencoder import Autoencoder
    from act3d.report.figure import Figure

SEVERAL = ("reconstruct", "neighbors")  # kinds that compare checkpoints


@command
def show(settings: ShowSettings) -> Path:
    """Draw a figure.

    Returns:
        The file written.

    Raises:
        CheckpointError: no such checkpoint, damaged, or of another kind than the figure needs.
        ConfigError: settings that do not fit the kind of figure.
        InputError: shapes that cannot be used, or a file name with another suffix.
    """
    from act3d.report.figure import check_figure_path, write_figure

    check_figure_path(settings.out)
    kind, count = settings.kind, len(settings.checkpoint)
    if kind == "data" and count:
        raise ConfigError("checkpoint: show data takes none")
    if kind != "data" and not count:
        raise ConfigError(f"checkpoint: show {kind} needs one")
    if kind not in SEVERAL and count > 1:
        raise ConfigError(f"checkpoint: show {kind} takes one, not {count}; {' and '.join(SEVERAL)} take several")
    path = Path(settings.out)
    if kind == "data" and path.suffix.lower() == ".html":
        from act3d.use.dataset_page import write_shapes

        write_shapes(path, settings.input, subset=settings.subset, split=settings.split)
    else:
        figure = _figure(settings)
        write_figure(path, figure, settings.width, settings.theme)
        if path.suffix.lower() != ".html":  # a page holds it
            say(f"caption: {figure.title}. {figure.note}")
    say(f"written: {path}")
    return path


def _figure(settings: ShowSettings) -> "Figure":
    from act3d.use.figures import autoencoders, collections, students
    from act3d.use.figures.shapes import Source
    from act3d.use.segmenter_predictor import SegmenterPredictor
    from act3d.use.shape_predictors import AutoencoderPredictor, EncoderPredictor, StudentPredictor
    from act3d.use.shapes import Reading

    reading = Reading(settings.up)
    source = Source(settings.input, settings.split, settings.subset, reading)
    names = _names(settings.checkpoint)
    if settings.kind == "reconstruct":
        return autoencoders.reconstructions(_load(settings, AutoencoderPredictor), names, source, settings.rows)
    if settings.kind == "codes":
        return autoencoders.codes(_load(settings, AutoencoderPredictor)[0], source, settings.columns)
    if settings.kind == "masks":
        student = _load(settings, StudentPredictor)[0]
        return students.masks(
            student, _teacher(settings, student), source, settings.rows, settings.mask_ratio, settings.seed
        )
    if settings.kind == "attention":
        (encoder,) = _load(settings, EncoderPredictor)
        return students.attention(encoder, source, settings.rows, settings.blocks, settings.heads)
    if settings.kind == "map":
        (encoder,) = _load(settings, EncoderPredictor)
        return collections.embedding_map(encoder, source, settings.limit, settings.method, settings.seed)
    if settings.kind == "parts":
        return collections.parts(_load(settings, SegmenterPredictor)[0], source, settings.rows)
    if settings.kind == "data":
        return collections.dataset(source, settings.columns)
    among = Source(settings.among or settings.input, "" if settings.among else settings.split, settings.subset, reading)
    return collections.neighbors(
        _load(settings, EncoderPredictor), names, source, among, settings.rows, settings.columns
    )


def _load(settings: ShowSettings, kind: Any) -> list[Any]:
    from act3d.use.load import load

    return [load(path, settings.device, expect=kind) for path in settings.checkpoint]


def _names(paths: list[str]) -> list[str]:
    """What to call checkpoints: the last part of their paths that tells them apart."""
    parts = [[*Path(path).parent.parts, Path(path).stem if Path(path).suffix else Path(path).name] for path in paths]
    for place in range(-1, -min(map(len, parts), default=0) - 1, -1):
        names = [found[place] for found in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _teacher(settings: ShowSettings, student: Any) -> "Autoencoder":
    """The autoencoder of a student: as told, inside it, or beside it in its run folder."""
    from act3d import checkpoints
    from act3d.engine.run_folder import RunFolder
    from act3d.models.autoencoder import Autoencoder

    if not settings.teacher and student.model.teacher is not None:
        carried: Autoencoder = student.model.teacher
        return carried
    beside = [RunFolder(folder).teacher for folder in (student.path.parent.parent, student.path.parent)]
    found = settings.teacher or next((str(path) for path in beside if path.is_file()), "")
    if not found:
        raise InputError(f"teacher: {student.path} carries none and lies in no run folder with one; say where it is")
    model: Autoencoder = checkpoints.load(found, settings.device, expect=Autoencoder).model
    return model.eval()

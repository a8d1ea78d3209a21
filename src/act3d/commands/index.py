"""`act3d index`: a collection that can be searched by shape."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from act3d.errors import ConfigError
from act3d.files import is_remote, one_writer
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.using import IndexSettings
from act3d.tables import Table, Tabular
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.index_table import refuse_handmade, require_lancedb
from act3d.use.index_update import update_index
from act3d.use.onnx_embedding import OnnxEncoderPredictor, load_encoder
from act3d.use.reading import Reading
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import find_shapes
from act3d.use.texts import without_names


@dataclass
class IndexReport(Tabular):
    """What `index` did: shapes in the index, how many of them are new, how many are gone, failures, quality by name.

    loss: how near the vectors of a backend other than torch are to PyTorch's, see `OnnxEncoderPredictor.loss`.
    recall: of approximate search in a large index, in percent, by column.
    """

    out: str
    shapes: int
    new: int
    gone: int
    failures: list[tuple[str, str]]
    quality: dict[str, dict[str, Any]]
    loss: dict[str, float]
    recall: dict[str, float] = field(default_factory=dict)

    def table(self) -> Table:
        """Return the quality of search, in percent."""
        names = [f"recall@{k}" for k in next(iter(self.quality.values()), {"recall": {}})["recall"]]
        rows = [[name, q["map"], *q["recall"].values(), q["queries"]] for name, q in self.quality.items()]
        return Table(["search", "mAP", *names, "queries"], rows)


def _labels(predictor: EncoderPredictor[Any], given: str) -> list[str]:
    if not isinstance(predictor, AlignedPredictor):
        raise ConfigError(f"labels: {without_names(predictor.kind)}")
    return predictor.take_labels(given)


@command
def index(settings: IndexSettings) -> IndexReport:
    """Make a collection searchable, or bring its index up to date.

    Returns:
        What is in the index, and how good it is.
    """
    place, data = settings.out, settings.data
    require_lancedb()  # before anything is read
    refuse_handmade(place)
    predictor = load_encoder(settings.checkpoint, settings.device, settings.backend)
    reading = Reading(data.up, data.normalize, data.batch_size, data.workers)
    shapes = find_shapes(settings.input, predictor, data.split, data.subset, reading)
    labels = _labels(predictor, settings.labels) if settings.labels else []
    with nullcontext() if is_remote(place) else one_writer(Path(place)):
        made = update_index(place, predictor, shapes, reading, labels)
    quality, recall = made.index.facts["quality"], made.index.facts["recall"]
    say(f"{place}: {len(made.index)} shapes; {made.new} new, {made.gone} gone, {len(made.failures)} not readable")
    for name, numbers in quality.items():
        found = ", ".join(f"recall@{k} {v:.1f}" for k, v in numbers["recall"].items())
        say(f"{name}: mAP {numbers['map']:.1f}, {found} (percent, {numbers['queries']} queries)")
    for column, percent in recall.items():
        say(f"approximate search in {column}: recall@10 {percent:.1f} percent of an exact one")
    loss = predictor.say_loss() if isinstance(predictor, OnnxEncoderPredictor) else {}
    say(f"search it: act3d search SHAPE --index {place}")
    return IndexReport(place, len(made.index), made.new, made.gone, made.failures, quality, loss, recall)

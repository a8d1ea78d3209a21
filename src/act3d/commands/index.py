"""`act3d index`: a collection that can be searched by shape."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act3d.files import one_writer
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.using import IndexSettings
from act3d.tables import Table, Tabular
from act3d.use.index import load_faiss
from act3d.use.index_update import update_index
from act3d.use.onnx_embedding import OnnxEncoderPredictor, load_encoder
from act3d.use.reading import Reading
from act3d.use.shapes import find_shapes


@dataclass
class IndexReport(Tabular):
    """What `index` did: shapes in the index, how many of them are new, how many are gone, failures, quality by name.

    loss: how near the vectors of a backend other than torch are to PyTorch's, see `OnnxEncoderPredictor.loss`.
    """

    out: Path
    shapes: int
    new: int
    gone: int
    failures: list[tuple[str, str]]
    quality: dict[str, dict[str, Any]]
    loss: dict[str, float]

    def table(self) -> Table:
        """Return the quality of search, in percent."""
        names = [f"recall@{k}" for k in next(iter(self.quality.values()), {"recall": {}})["recall"]]
        rows = [[name, q["map"], *q["recall"].values(), q["queries"]] for name, q in self.quality.items()]
        return Table(["search", "mAP", *names, "queries"], rows)


@command
def index(settings: IndexSettings) -> IndexReport:
    """Make a collection searchable, or bring its index up to date.

    Returns:
        What is in the index, and how good it is.
    """
    folder, data = Path(settings.out), settings.data
    load_faiss()  # before anything is read
    predictor = load_encoder(settings.checkpoint, settings.device, settings.backend)
    reading = Reading(data.up, data.normalize, data.batch_size, data.workers)
    shapes = find_shapes(settings.input, predictor, data.split, data.subset, reading)
    with one_writer(folder):
        made = update_index(folder, predictor, shapes, reading)
    quality = made.index.about["quality"]
    say(f"{folder}: {len(made.index)} shapes; {made.new} new, {made.gone} gone, {len(made.failures)} not readable")
    for name, numbers in quality.items():
        recall = ", ".join(f"recall@{k} {v:.1f}" for k, v in numbers["recall"].items())
        say(f"{name}: mAP {numbers['map']:.1f}, {recall} (percent, {numbers['queries']} queries)")
    loss = predictor.say_loss() if isinstance(predictor, OnnxEncoderPredictor) else {}
    say(f"search it: act3d search SHAPE --index {folder}")
    return IndexReport(folder, len(made.index), made.new, made.gone, made.failures, quality, loss)

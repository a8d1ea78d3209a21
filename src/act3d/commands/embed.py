"""`act3d embed`: one vector a shape."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from act3d.errors import ConfigError
from act3d.files import one_writer
from act3d.known_models import local_weights
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.using import EmbedSettings
from act3d.tables import Table, Tabular
from act3d.use.embed_shapes import Embedding, Parts, embed_shapes, facts_of
from act3d.use.embeddings import Embeddings, check_made_by, check_suffix, read_embeddings
from act3d.use.onnx_embedding import OnnxEncoderPredictor, load_encoder
from act3d.use.reading import Reading
from act3d.use.shapes import Shapes, find_shapes


@dataclass(repr=False)
class EmbedReport(Tabular):
    """What `embed` did: the table written, how many vectors were new, and (name, reason) of what could not be read.

    loss: how near the vectors of a backend other than torch are to PyTorch's, see `OnnxEncoderPredictor.loss`.
    """

    out: Path
    embeddings: Embeddings
    new: int
    failures: list[tuple[str, str]]
    loss: dict[str, float]

    def table(self) -> Table:
        """Return one row a shape; the numbers of the vector are columns f0, f1 ..."""
        return self.embeddings.table()

    def __repr__(self) -> str:
        return f"<EmbedReport: {self.embeddings!r}; {self.new} new, {len(self.failures)} not readable; {self.out}>"


@command
def embed(settings: EmbedSettings) -> EmbedReport:
    """Write the embedding of every shape of a file, a folder, a glob pattern or a prepared dataset.

    Returns:
        The table, and what could not be read.

    Raises:
        InputError: nothing to read, or not one readable shape.
        CheckpointError: no such checkpoint, or one that gives no embedding.
        ConfigError: the table was made by another checkpoint or backend; engine ray with another backend than torch.
        MissingDependency: the backend needs packages of act3d[onnx], or the engine those of act3d[ray].
    """
    out, data = Path(settings.out), settings.data
    check_suffix(out)
    ray = settings.engine == "ray"
    if ray and settings.backend != "torch":
        raise ConfigError(f"backend: {settings.backend!r} with engine ray, whose processes compute by torch")
    predictor = load_encoder(settings.checkpoint, "cpu" if ray else settings.device, settings.backend)
    facts, reading = facts_of(predictor), Reading(data.up, data.normalize, data.batch_size, data.workers)
    shapes = find_shapes(settings.input, predictor, data.split, data.subset, reading)
    with one_writer(out):
        known = [read_embeddings(out)] if out.is_file() else []
        if known:
            check_made_by(out, known[0].meta, facts)
        parts = Parts(out)
        with _on_ray(settings, facts["path"], shapes, reading) if ray else nullcontext() as embedding:
            table, new, failures = embed_shapes(predictor, shapes, reading, known, parts, facts, embedding)
        table.write(out)
        parts.remove()
    say(f"{out}: {len(table)} shapes, {table.vectors.shape[1]} numbers each; {new} new, {len(failures)} not readable")
    loss = predictor.say_loss() if isinstance(predictor, OnnxEncoderPredictor) else {}
    return EmbedReport(out, table, new, failures, loss)


@contextmanager
def _on_ray(settings: EmbedSettings, weights: str, shapes: Shapes, reading: Reading) -> Iterator[Embedding]:
    from act3d.readers import on_ray
    from act3d.use import embed_on_ray

    data = settings.data
    job = embed_on_ray.job_of(
        str(settings.checkpoint), settings.device, str(settings.input), shapes, data.split, data.subset, reading
    )
    with on_ray.cluster(data.workers, local_weights(weights)) as cluster:
        yield partial(embed_on_ray.embed, cluster, job, shapes)

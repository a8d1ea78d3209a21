"""Embeddings by the processes of a Ray cluster: each loads the model once, reads a batch of shapes, and embeds it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from act3d.errors import ConfigError
from act3d.readers.guarded import Lost
from act3d.readers.on_ray import Cluster, run
from act3d.use.embed_shapes import Vectors
from act3d.use.load import load
from act3d.use.reading import Reading
from act3d.use.shapes import Item, Shapes, blocks_of, find_shapes, say_all


class Job(NamedTuple):
    """What a process must know to embed shapes; places in the file system are absolute.

    Attributes:
        checkpoint, device: See `act3d.use.load`.
        reading: How shapes are read.
        source, split, subset: The prepared dataset that shapes are in; source "" = they are files.
    """

    checkpoint: str
    device: str
    reading: Reading
    source: str
    split: str
    subset: str


class Row(NamedTuple):
    """One vector (F,), and lines about what was inferred while its batch was read."""

    vector: NDArray[np.float32]
    notes: tuple[str, ...]


def job_of(checkpoint: str, device: str, source: str, shapes: Shapes, split: str, subset: str, reading: Reading) -> Job:
    """Return the job of embedding some shapes."""
    dataset = _absolute(source) if shapes.dataset is not None else ""
    return Job(_absolute(checkpoint), device, reading, dataset, split, subset)


def _absolute(place: str) -> str:
    return os.path.abspath(place) if Path(place).exists() else place


def embed(cluster: Cluster, job: Job, shapes: Shapes, places: list[int]) -> Iterator[Vectors]:
    """Embed the shapes at some places, in batches of those that one process would take.

    Raises:
        ConfigError: CUDA is asked for, and no machine of the cluster has a GPU.
        LostProcess: The cluster is gone.
    """
    if job.device.startswith("cuda") and not cluster.gpus:
        raise ConfigError(f"device: {job.device!r}; no machine of the Ray cluster has a GPU; take cpu")
    gpus = int(cluster.gpus > 0 and job.device != "cpu")
    # Beside every GPU as many processes read as there are cores for it; without one a process reads by itself.
    cores = max(1, cluster.workers // cluster.gpus) if gpus else 1
    reading = job.reading._replace(workers=cores, beside=cluster.beside)
    job = job._replace(reading=reading, device=job.device if gpus or job.device != "auto" else "cpu")
    blocks = blocks_of(places, reading)
    told: set[str] = set()
    batches = ([(place, shapes.items[place]) for place in block] for block in blocks)
    with closing(run(cluster, partial(embed_block, job=job), batches, cores, gpus)) as results:
        for block, rows in zip(blocks, results, strict=True):
            pairs = list(zip(block, rows, strict=True))
            good = [(place, row) for place, row in pairs if isinstance(row, Row)]
            notes = dict.fromkeys(note for _, row in good for note in row.notes if note not in told)
            say_all(list(notes))
            told.update(notes)
            failures = [(place, row.reason) for place, row in pairs if isinstance(row, Lost)]
            yield Vectors([place for place, _ in good], [row.vector for _, row in good], failures)


def embed_block(tasks: Sequence[tuple[int, Item]], job: Job) -> list[Row | Lost]:
    """Read and embed a batch of shapes; runs in a process of Ray's."""
    predictor = _predictor(job.checkpoint, job.device)
    shapes, places = Shapes([item for _, item in tasks]), list(range(len(tasks)))
    if job.source:
        shapes, places = _dataset(job), [place for place, _ in tasks]
    notes: list[str] = []
    batch = next(shapes.batches(places, predictor, job.reading, notes.extend))
    lost = {place: Lost(reason) for place, reason in batch.failures}
    vectors = predictor.embed(batch.points).float().cpu().numpy() if batch.places else ()
    rows = {place: Row(row, tuple(notes)) for place, row in zip(batch.places, vectors, strict=True)}
    return [rows.get(place) or lost[place] for place in places]


@lru_cache(maxsize=1)
def _predictor(checkpoint: str, device: str) -> Any:
    return load(checkpoint, device)


@lru_cache(maxsize=1)
def _dataset(job: Job) -> Shapes:
    return find_shapes(job.source, _predictor(job.checkpoint, job.device), job.split, job.subset, job.reading)

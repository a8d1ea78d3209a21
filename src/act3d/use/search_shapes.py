"""Searching an index by shapes that are read and embedded first."""

import time
from typing import Any

from act3d.errors import CheckpointError, InputError
from act3d.files import printable
from act3d.lines import say
from act3d.use.embed_shapes import facts_of
from act3d.use.embeddings import made_by
from act3d.use.index import Index
from act3d.use.onnx_embedding import load_encoder
from act3d.use.search import SearchReport, hits_of
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import find_shapes


def search_index(
    query: str,
    index: Index,
    k: int = 10,
    up: str = "auto",
    checkpoint: str = "",
    split: str = "",
    limit: int = 0,
    device: str = "auto",
) -> SearchReport:
    """Find the shapes of an index that are nearest to a mesh or cloud.

    Args:
        query: A mesh or cloud, a folder or pattern of them, or a prepared dataset.
        index: The index.
        k: How many shapes to find.
        up: Up axis of the query's file; "auto" = as the index's files were read.
        checkpoint: The model, if it is no longer where the index found it.
        split: Of a prepared dataset given as query.
        limit: At most this many queries; 0 = all.
        device: Where to compute.

    Raises:
        CheckpointError: Not the model that the index was made with.
        InputError: Not one query could be read.
    """
    vectors, scaling = index.vectors(), index.scaling
    predictor = _model_of(index, checkpoint, device)
    reading = index.reading._replace(batch_size=1)
    if up != "auto":
        reading = reading._replace(up=up)
    elif reading.mark:
        say(f"act3d: queries are read as the index's files were:{reading.mark}", error=True)
    shapes = find_shapes(query, predictor, split, reading=reading)
    report = SearchReport({}, {}, {})
    spent = dict.fromkeys(("read", "embed", "search"), 0.0)
    began = time.perf_counter()
    for found, clouds, bad in shapes.batches(range(len(shapes.items))[: limit or None], predictor, reading):
        for place, reason in bad:
            say(f"act3d: not readable: {printable(shapes.items[place].name)}: {reason}", error=True)
        read = time.perf_counter()
        if found:
            vector = predictor.embed(clouds).float().cpu().numpy()
            embedded = time.perf_counter()
            similarity, rows = vectors.search(scaling(vector), min(k, len(index)))
            done = time.perf_counter()
            name = shapes.items[found[0]].name
            report.hits[name] = hits_of(index, rows[0].tolist(), similarity[0].tolist())
            report.clouds[name] = clouds[0].cpu().numpy()
            for step, seconds in zip(spent, (read - began, embedded - read, done - embedded), strict=True):
                spent[step] += seconds
        began = time.perf_counter()
    if not report.hits:
        raise InputError(f"{query}: not one query could be read")
    report.seconds = {step: seconds / len(report.hits) for step, seconds in spent.items()}
    return report


def _model_of(index: Index, checkpoint: str, device: str) -> EncoderPredictor[Any]:
    """The index's model, by the index's backend: vectors of two backends are not compared."""
    made, backend = made_by(index.table.meta)
    predictor = load_encoder(checkpoint or index.checkpoint(), device, backend)
    if facts_of(predictor)["checkpoint"] != made:
        raise CheckpointError(f"{predictor.path}: not the model that {index.folder} was made with")
    return predictor

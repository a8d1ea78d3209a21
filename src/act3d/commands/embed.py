"""`act3d embed`: one vector a shape."""

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.errors import ConfigError, InputError
from act3d.settings.command import command
from act3d.settings.data import ReadData
from act3d.settings.using import EmbedSettings
from act3d.use.shapes import Item, Shapes, find_shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    from act3d.use.embeddings import Embeddings
    from act3d.use.shape_predictors import EncoderPredictor


@dataclass
class EmbedReport:
    """What `embed` did: the table written, how many vectors were new, and (name, reason) of what could not be read."""

    out: Path
    embeddings: "Embeddings" = field(repr=False)
    new: int
    failures: list[tuple[str, str]]


@command
def embed(settings: EmbedSettings) -> EmbedReport:
    """Write the embedding of every shape of a file, a folder, a glob pattern or a prepared dataset.

    Returns:
        The table, and what could not be read.

    Raises:
        InputError: nothing to read, or not one readable shape.
        CheckpointError: no such checkpoint, or one that gives no embedding.
    """
    checkpoint, out, data = settings.checkpoint, settings.out, settings.data
    from act3d.use.embeddings import check_suffix, read_embeddings

    check_suffix(Path(out))
    predictor, meta = load_embedder(checkpoint, settings.device)
    shapes = find_shapes(settings.input, predictor.meta, data.split, data.subset)
    known = [read_embeddings(out)] if Path(out).is_file() else []
    if known and known[0].meta.get("checkpoint") != meta["checkpoint"]:
        raise ConfigError(f"--out: {out} holds embeddings by another checkpoint; choose another file")
    table, new, failures = embed_all(predictor, shapes, data, known, Path(out), meta)
    table.write(out)
    clear_parts(Path(out))
    print(f"{out}: {len(table)} shapes, {table.vectors.shape[1]} numbers each; {new} new, {len(failures)} not readable")
    return EmbedReport(Path(out), table, new, failures)


def load_embedder(checkpoint: str, device: str) -> "tuple[EncoderPredictor[Any], dict[str, Any]]":
    """A predictor with `embed`, and what a table of its embeddings says of it."""
    from act3d.use.loading import load
    from act3d.use.shape_predictors import EncoderPredictor

    predictor = load(checkpoint, device, expect=EncoderPredictor)
    path = predictor.path or Path(checkpoint)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    facts = {"checkpoint": digest, "path": str(path.resolve()), "kind": predictor.kind}
    return predictor, facts | {
        k: v for k, v in predictor.meta.items() if k in ("points", "normalization", "licence", "data")
    }


def load_model(checkpoint: str, device: str = "auto") -> Any:
    """The predictor of any model, on `device`."""
    from act3d.use.loading import load

    return load(checkpoint, device)


def embed_all(
    predictor: "EncoderPredictor[Any]",
    shapes: Shapes,
    data: ReadData,
    known: "list[Embeddings]",
    out: Path,
    meta: dict[str, Any],
    look: "Callable[[int, Tensor], None] | None" = None,
) -> "tuple[Embeddings, int, list[tuple[str, str]]]":
    """Embed what is not known yet; everything found so far is kept in parts beside `out` until that is written.

    `look` is shown the place and the points (N, 3) of every shape that is read.

    Returns:
        One row for every shape that could be read, in the shapes' order; how many of them are new; and failures.
    """
    import numpy as np

    from act3d.use.embeddings import COLUMNS, Embeddings

    parts = read_parts(out, meta["checkpoint"])
    vectors: dict[tuple[str, str], Any] = {}
    for table in [*known, *parts]:
        vectors |= dict(zip(table.keys(), table.vectors, strict=True))
    places = [i for i, item in enumerate(shapes.items) if (item.name, item.stamp) not in vectors]
    failures: list[tuple[str, str]] = []
    pending: list[int] = []
    number = len(parts)
    for good, points, bad in _with_progress(shapes, places, predictor, data):
        for place, reason in bad:
            failures.append((shapes.items[place].name, reason))
            print(f"act3d: not readable: {shapes.items[place].name}: {reason}", file=sys.stderr)
        if good:
            found = _vectors(predictor, points)
            vectors |= {(shapes.items[i].name, shapes.items[i].stamp): v for i, v in zip(good, found, strict=True)}
            pending += good
            if look:
                for place, cloud in zip(good, points, strict=True):
                    look(place, cloud)
        if len(pending) >= _PART:
            write_part(out, number, _table([shapes.items[i] for i in pending], vectors, meta))
            pending, number = [], number + 1
    done = [item for item in shapes.items if (item.name, item.stamp) in vectors]
    if not done:
        raise InputError(f"not one of {len(shapes.items)} shapes could be read; the first: {': '.join(failures[0])}")
    stacked = np.stack([vectors[item.name, item.stamp] for item in done]).astype(np.float32)
    columns = {name: [getattr(item, name) for item in done] for name in COLUMNS}
    return Embeddings(stacked, columns, meta), len(places) - len(failures), failures


_PART = 256  # shapes after which what was found is written down


def _vectors(predictor: "EncoderPredictor[Any]", points: "Tensor") -> "np.ndarray":
    import torch

    with torch.inference_mode():
        return predictor.embed(points).float().cpu().numpy()


def _table(items: list[Item], vectors: dict[tuple[str, str], Any], meta: dict[str, Any]) -> "Embeddings":
    import numpy as np

    from act3d.use.embeddings import COLUMNS, Embeddings

    stacked = np.stack([vectors[item.name, item.stamp] for item in items])
    return Embeddings(stacked, {name: [getattr(item, name) for item in items] for name in COLUMNS}, meta)


def _with_progress(shapes: Shapes, places: list[int], predictor: "EncoderPredictor[Any]", data: ReadData) -> Any:
    """The shapes' batches, while a bar shows how far they are."""
    from act3d.progress import Progress

    up = None if data.up == "auto" else data.up
    with Progress(len(places), text="embedding", unit="shapes") as progress:
        for good, points, bad in shapes.batches(places, predictor, data.batch_size, data.workers, up):
            yield good, points, bad
            progress.advance(count=len(good) + len(bad))


# ---------------------------------------------------------------------- parts of an unfinished table


def _parts_folder(out: Path) -> Path:
    return out.with_name(f".{out.name}.parts")


def write_part(out: Path, number: int, table: "Embeddings") -> None:
    """Keep some rows until the whole table is written."""
    table.write(_parts_folder(out) / f"{number:06d}.npz")


def read_parts(out: Path, checkpoint: str) -> "list[Embeddings]":
    """Rows that an interrupted run by the same checkpoint has kept."""
    from act3d.use.embeddings import read_embeddings

    tables = [read_embeddings(path) for path in sorted(_parts_folder(out).glob("[0-9]*.npz"))]
    if any(table.meta.get("checkpoint") != checkpoint for table in tables):
        clear_parts(out)
        return []
    return tables


def clear_parts(out: Path) -> None:
    """Forget the rows that were kept."""
    import shutil

    shutil.rmtree(_parts_folder(out), ignore_errors=True)

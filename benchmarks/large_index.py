"""An index of 100 000 shapes: how long it takes to make, how near approximate search is to an exact one, queries with
and without a filter, and what is left when an update is killed.

    act3d embed data/kicad --checkpoint runs/pretrain --out kicad.npz
    python -m benchmarks.large_index kicad.npz runs/pretrain --out /tmp/large build query
    python -m benchmarks.large_index kicad.npz runs/pretrain --out /tmp/large kill --kills 20 --go-on

The real embeddings are among the rows; the others are drawn near them: two real ones of a class mixed at random, and
noise of a tenth of each feature's deviation. Everything behind the encoder is act3d's own code, `update_index`. A place
such as s3://bucket/index works as well.
"""

import argparse
import hashlib
import multiprocessing
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from act3d.errors import CheckpointError
from act3d.use.embeddings import Embeddings, read_embeddings
from act3d.use.index import Index, open_index
from act3d.use.index_quality import measure_recall
from act3d.use.index_table import identity, matrix, read_columns
from act3d.use.index_update import update_index
from act3d.use.load import load
from act3d.use.reading import Reading
from act3d.use.shape_predictors import EncoderPredictor
from act3d.use.shapes import Batch, Item, Shapes, Tell

NOISE, BATCH = 0.1, 256
SPAN = 2**20  # places of shapes as coordinates below 1, exactly
MOVED, CHANGED = 200, 1000  # shapes that an update adds and removes, and those that it embeds anew


@dataclass
class Collection:
    """Real and drawn shapes.

    Attributes:
        real: Real embeddings, with names and classes.
        drawn: How many are drawn.
        version: Of the collection; each has other drawn shapes at both ends, and changed ones.
    """

    real: Embeddings
    drawn: int
    version: int = 0

    def items(self) -> list[Item]:
        """The shapes; their files do not exist, so that those that are not listed count as gone."""
        real, first = self.real, self.version * MOVED
        found = [
            Item(name, label, split, f"/nowhere/{name}", "0")
            for name, label, split in zip(real["name"], real["label"], real["split"], strict=True)
        ]
        for number in range(first, first + self.drawn):
            parent = number % len(real)
            label = real["label"][parent]
            found.append(Item(f"drawn/{number}", label, "", f"/nowhere/drawn/{number}", str(self._changed(number))))
        return found

    def _changed(self, number: int) -> int:
        """The last version in which a drawn shape was changed."""
        own = number // CHANGED + 1
        return own if own <= self.version else 0

    def vectors(self) -> NDArray[np.float32]:
        """The embeddings (S, F) of `items`."""
        # A shape has the same one in every version: later ones are drawn after the first ones, and apart.
        first, later = self._draw(0, self.drawn), self._draw(self.drawn, self.version * MOVED)
        drawn = np.concatenate([first, later])[self.version * MOVED :]
        changed = [self._changed(number) for number in range(self.version * MOVED, self.version * MOVED + self.drawn)]
        drawn += 0.001 * np.array(changed, dtype=np.float32)[:, None]
        return np.concatenate([self.real.vectors, drawn]).astype(np.float32)

    def _draw(self, first: int, count: int) -> NDArray[np.float32]:
        real, generator = self.real.vectors, np.random.default_rng(first)
        parents = np.arange(first, first + count) % len(real)
        order = np.argsort(np.array(self.real["label"]), kind="stable")  # neighbours in it are mostly of one class
        place = np.argsort(order)
        others = order[(place[parents] + generator.integers(1, 4, count)) % len(order)]
        shares = generator.random((count, 1), dtype=np.float32) / 2
        noise = generator.standard_normal((count, real.shape[1]), dtype=np.float32)
        return (1 - shares) * real[parents] + shares * real[others] + NOISE * real.std(axis=0) * noise


class Drawn(Shapes):
    """Shapes whose only point holds their place, where the encoder below finds it."""

    def batches(
        self, places: Sequence[int], predictor: Any, reading: Reading, tell: Tell | None = None
    ) -> Iterator[Batch]:
        for start in range(0, len(places), BATCH):
            block = list(places[start : start + BATCH])
            points = torch.tensor(block, dtype=torch.float32)[:, None, None].div(SPAN).expand(-1, 1, 3)
            extents = np.stack([np.ones(len(block)), np.array(block) % 10, np.ones(len(block))], axis=1)
            yield Batch(block, points, [], extents.astype(np.float32))


class Known(EncoderPredictor[Any]):
    """An encoder that knows its embeddings already."""

    known: NDArray[np.float32]

    def embed(self, points: Any) -> torch.Tensor:
        """(b, 1, 3), see `Drawn` -> (b, F)."""
        return torch.from_numpy(self.known[points[:, 0, 0].mul(SPAN).long().numpy()])


def update(place: str, checkpoint: str, collection: Collection) -> None:
    """Bring an index up to a version of a collection."""
    found = load(checkpoint, "cpu", expect=EncoderPredictor)
    encoder = Known(found.model, found.meta, path=found.path)
    encoder.known = collection.vectors()
    made = update_index(place, encoder, Drawn(collection.items()), Reading(batch_size=BATCH))
    print(
        f"{len(made.index)} shapes; {made.new} new or changed, {made.gone} gone; recall@10 {made.index.facts['recall']}"
    )


def timed(call: Callable[..., Any], *inputs: Any, **options: Any) -> tuple[Any, float, float]:
    """What a call gives, its wall time and its processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    return call(*inputs, **options), time.perf_counter() - wall, time.process_time() - processor


def content(ids: Sequence[str], stamps: Sequence[str], vectors: NDArray[np.float32]) -> str:
    """A digest of the rows of an index, in the order of their ids."""
    order = np.argsort(ids)
    lines = "\n".join(f"{ids[place]} {stamps[place]}" for place in order)
    return hashlib.sha256(lines.encode() + vectors[order].tobytes()).hexdigest()[:16]


def content_of(index: Index) -> str:
    """The same of an index as readers see it."""
    rows = read_columns(index.table, ["id", "stamp", "embedding"])
    width = rows["embedding"].type.list_size
    return content(rows["id"].to_pylist(), rows["stamp"].to_pylist(), matrix(rows["embedding"], width))


def content_wanted(collection: Collection) -> str:
    """What `content_of` is to be."""
    items = collection.items()
    ids = [identity(item.name, item.path) for item in items]
    return content(ids, [item.stamp for item in items], collection.vectors())


def query(place: str) -> None:
    """Print what queries take, and what approximate ones find."""
    index = open_index(place)
    print(f"recall@10 of 100 stored vectors: {measure_recall(index.table, 'vector'):.1f} %")
    ids = index.column("id")[:: max(1, len(index) // 50)][:50]
    vectors = [index.vector(id) for id in ids]
    label = max(index.counts().items(), key=lambda pair: pair[1] if pair[0] else 0)[0]
    filters = {
        "no filter": "",
        "a class": f"class = '{label}'",
        "class and height": f"class = '{label}' and height < 3",
    }
    for name, where in filters.items():
        count = index.count(where)
        for exact in (False, True):
            spent, hits = [], []
            for vector in vectors:
                found, wall, _ = timed(index.nearest, vector, 10, where, exact=exact)
                spent.append(1000 * wall)
                hits.append({hit.id for hit in found})
            if not exact:
                near = hits
        recall = np.mean([len(a & b) / max(len(b), 1) for a, b in zip(near, hits, strict=True)])
        print(f"{name}: {count} shapes, recall@10 {100 * recall:.1f} %, exact {np.median(spent):.1f} ms")
        spent = [1000 * timed(index.nearest, vector, 10, where)[1] for vector in vectors]
        print(f"  approximate: median {np.median(spent):.1f} ms, fastest {min(spent):.1f}, slowest {max(spent):.1f}")
    _, wall, _ = timed(index.named, "drawn", 10)
    print(f"words in names: {1000 * wall:.1f} ms")


def kill(arguments: argparse.Namespace, collection: Collection) -> None:
    """Kill updates of copies of an index at random moments: readers must see the old index whole, or the new one.

    The first update is left alone: its time is the range of the moments, unless one is given. The last one that was
    killed is gone on with, or each one.
    """
    new, work = Collection(collection.real, collection.drawn, 1), Path(f"{arguments.out}-killed")
    after_it: list[str] = []
    allowed = {content_of(open_index(arguments.out)): "old", content_wanted(new): "new"}
    # Children of a process that has loaded everything but LanceDB: kills meet updates, not imports.
    children = multiprocessing.get_context("forkserver")
    children.set_forkserver_preload(["benchmarks.large_index"])
    moments, seen, seconds = random.Random(arguments.seed), [], arguments.within
    for number in range(1 if seconds else 0, arguments.kills + 1):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(arguments.out, work)
        child = children.Process(target=update, args=(str(work), arguments.checkpoint, new))
        child.start()
        after = moments.uniform(0, seconds) if number else None
        began = time.perf_counter()
        child.join(after)
        child.kill()
        child.join()
        seconds = seconds or time.perf_counter() - began
        seen.append(allowed.get(content_of(open_index(work)), "LOST"))
        ended = "ended by itself" if child.exitcode == 0 else "killed"
        print(f"{ended} after {time.perf_counter() - began:.1f} s: {seen[-1]}, {_found(work, collection)}", flush=True)
        if arguments.go_on or number == arguments.kills:
            _, wall, processor = timed(update, str(work), arguments.checkpoint, new)
            after_it.append(allowed.get(content_of(open_index(work)), "LOST"))
            print(f"gone on with for {wall:.1f} s, {processor:.1f} s of processor time: {after_it[-1]}, "
                  f"{_found(work, collection)}", flush=True)  # fmt: skip
    print(f"{seen.count('old')} updates left the old index, {seen.count('new')} the new, {seen.count('LOST')} neither; "
          f"gone on with: {after_it.count('new')} of {len(after_it)} give the new one")  # fmt: skip
    if "LOST" in seen or set(after_it) != {"new"}:
        raise CheckpointError(f"{arguments.out}: rows were lost")


def _found(place: Path, collection: Collection) -> str:
    """How many of some real shapes are found as themselves."""
    index = open_index(place)
    ids = [identity(name, f"/nowhere/{name}") for name in collection.real["name"][:: len(collection.real) // 20]]
    found = sum(index.nearest(index.vector(id), 1)[0].id == id for id in ids)
    return f"{found} of {len(ids)} real shapes find themselves"


def main() -> None:
    """Do what is asked, in its order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", help="table of act3d embed")
    parser.add_argument("checkpoint", help="the encoder that made it")
    parser.add_argument("do", nargs="+", choices=["build", "query", "update", "kill"])
    parser.add_argument("--out", required=True, help="folder or URI of the index")
    parser.add_argument("--rows", type=int, default=100_001)
    parser.add_argument("--version", type=int, default=0, help="of the collection, for update")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--go-on", action="store_true", help="go on after every kill, not only after the last one")
    parser.add_argument("--within", type=float, default=0.0, help="seconds of an update in which it is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    real = read_embeddings(arguments.embeddings)
    collection = Collection(real, arguments.rows - len(real), arguments.version)
    for step in arguments.do:
        if step == "kill":
            kill(arguments, collection)
        elif step == "query":
            query(arguments.out)
        else:
            _, wall, processor = timed(update, arguments.out, arguments.checkpoint, collection)
            print(f"{step}: {wall:.1f} s, {processor:.1f} s of processor time", flush=True)


if __name__ == "__main__":
    main()

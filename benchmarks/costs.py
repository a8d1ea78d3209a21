"""Time, storage, memory and money for large collections, from measured figures: `python -m benchmarks.costs`.

Figures are in costs.json, each with the words of RESULTS.md that it stands for. Nothing here has been run at this size:
what a device, a network and an hour cost is assumed, and can be given.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from act3d.use.index_quality import EXACT_LIMIT
from act3d.use.index_table import CLUSTER, PROBES

FIGURES = Path(__file__).with_name("costs.json")
COLLECTIONS = {"ShapeNet-55": 52_470, "800 000 (Objaverse)": 800_000, "10 million": 10_000_000}
RELEASED = 300 * 41_952  # clouds that the released recipe sees: 300 epochs of ShapeNet-55's training split
PASSES = 3  # of a large collection, at least
POINTS, WIDTH = 8192, 768  # stored a cloud, in half precision; numbers of an embedding
LOOKED_AT = PROBES * CLUSTER  # shapes that a search compares with in a large index
STATE = 16  # bytes a trained parameter in last.ckpt and on the device: weight, gradient or copy, AdamW's two moments
CORES = 16  # of a node, for prepare and embed


@dataclass(frozen=True)
class Assumed:
    """What was not measured."""

    gpu_tflops: float = 30.0
    """TFLOP/s that a GPU reaches in these steps (an A100 promises 156 with TF32)"""
    gpus: int = 4
    """GPUs of a node"""
    gbit: float = 100.0
    """Gbit/s between nodes"""
    batch: int = 64
    """clouds of a GPU and step"""
    core_hour: float = 0.04
    """dollars for an hour of a core"""
    gpu_hour: float = 2.0
    """dollars for an hour of a GPU"""


def figures() -> dict[str, float]:
    """The measured figures by name."""
    return {name: entry["value"] for name, entry in json.loads(FIGURES.read_text()).items()}


def seen(clouds: int) -> int:
    """Clouds that a training on a collection sees: as many as the released recipe, but every one `PASSES` times."""
    return max(RELEASED, PASSES * clouds)


def parts_of(clouds: int) -> list[tuple[str, int]]:
    """What is done with a collection, and with how many clouds."""
    trained = seen(clouds)
    return [("prepare", clouds), ("stage1", trained), ("stage2", trained), ("embed", clouds), ("index", clouds)]


def work_rows(known: dict[str, float], given: Assumed) -> Iterator[list[str]]:
    """One row a collection and part: core hours, their price, GPU hours, their price."""
    for name, clouds in COLLECTIONS.items():
        for part, times in parts_of(clouds):
            core = times * known[f"{part}_s"] / 3600
            row = [name, LABELS[part], f"{times / 1e6:.2f}", number(core), number(core * given.core_hour)]
            gflop = known.get(f"{part}_gflop")
            gpu = None if gflop is None else times * gflop / given.gpu_tflops / 1e3 / 3600
            yield [*row, *(("", "") if gpu is None else (number(gpu), number(gpu * given.gpu_hour)))]


LABELS = {"prepare": "prepare", "stage1": "stage I", "stage2": "stage II", "embed": "embed", "index": "index"}


def room_rows(known: dict[str, float]) -> Iterator[list[str]]:
    """One row a collection: gigabytes of clouds, vectors and index, minutes to read all, milliseconds of a query."""
    for name, clouds in COLLECTIONS.items():
        packed, vectors = clouds * POINTS * 3 * 2 / 1e9, clouds * WIDTH * 4 / 1e9
        exact, index = 1e3 * clouds * known["query_s"], clouds * known["index_kb"] / 1e6
        query = exact if clouds <= EXACT_LIMIT else 1e3 * min(clouds, LOOKED_AT) * known["looked_at_s"]
        yield [
            name, number(packed), number(clouds * 1024 * 3 * 2 / 1e9), number(vectors), number(index),
            number(clouds / known["read_per_s"] / 60), number(exact), number(query),
        ]  # fmt: skip


def cluster_rows(known: dict[str, float], given: Assumed) -> Iterator[list[str]]:
    """One row a stage and number of nodes: a step's computing and exchange, and days for each collection."""
    for part in ("stage1", "stage2"):
        compute = given.batch * known[f"{part}_gflop"] / given.gpu_tflops / 1e3
        for nodes in (1, 8, 64):
            exchange = exchange_s(known[f"{part}_parameters"], nodes, given.gbit)
            # DDP exchanges gradients while the backward pass, two thirds of a step, is still computing.
            step = compute + max(0.0, exchange - compute * 2 / 3)
            batch = nodes * given.gpus * given.batch
            hours = [number(seen(clouds) / batch * step / 3600) for clouds in COLLECTIONS.values()]
            steps = number(RELEASED / batch)
            yield [
                LABELS[part], str(nodes), str(batch), number(1e3 * compute), number(1e3 * exchange),
                f"{100 * compute / step:.0f} %", steps, *hours,
            ]  # fmt: skip


def exchange_s(parameters: float, nodes: int, gbit: float) -> float:
    """Seconds in which nodes in a ring sum the gradients of so many float32 parameters."""
    return 2 * (nodes - 1) / nodes * 4 * parameters / (gbit / 8 * 1e9)


def prepare_rows(known: dict[str, float]) -> Iterator[list[str]]:
    """One row a part and number of nodes: minutes for each collection, all cores at work."""
    for part in ("prepare", "embed"):
        for nodes in (1, 8, 64):
            minutes = [number(clouds * known[f"{part}_s"] / (nodes * CORES) / 60) for clouds in COLLECTIONS.values()]
            yield [LABELS[part], str(nodes), *minutes]


def memory_rows(known: dict[str, float]) -> Iterator[list[str]]:
    """One row a batch: gigabytes of a device in stage II, for weights and moments, teacher, and what a batch keeps."""
    state, teacher = STATE * known["stage2_parameters"] / 1e9, 4 * known["teacher_parameters"] / 1e9
    for batch in (16, 64, 256):
        kept = batch * known["stage2_kept_mb"] / 1e3
        yield [str(batch), number(state), number(teacher), number(kept), number(state + teacher + kept)]


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):,.0f}".replace(",", " ")


def table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def tables(given: Assumed) -> dict[str, str]:
    """All tables by title."""
    known, names = figures(), list(COLLECTIONS)
    return {
        "Work": table(
            ["collection", "part", "million clouds", "core hours", "$", "GPU hours (assumed)", "$"],
            work_rows(known, given),
        ),
        "Room": table(
            [
                *("collection", "8192 points, GB", "1024 points, GB", "vectors, GB", "index, GB"),
                *("read once, min", "exact query, ms", "query, ms"),
            ],
            room_rows(known),
        ),
        "Preparing and embedding": table(["part", "nodes", *(f"{name}, min" for name in names)], prepare_rows(known)),
        "Memory of a device in stage II": table(
            ["batch", "weights and optimizer, GB", "teacher, GB", "batch, GB", "together, GB"], memory_rows(known)
        ),
        "Training on a cluster": table(
            [
                "stage",
                "nodes",
                "batch",
                "compute, ms",
                "exchange, ms",
                "efficiency",
                "steps",
                *(f"{n}, h" for n in names),
            ],
            cluster_rows(known, given),
        ),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    for field in fields(Assumed):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    given = Assumed(**vars(parser.parse_args(argv)))
    for title, text in tables(given).items():
        print(f"## {title}\n\n{text}\n")


if __name__ == "__main__":
    main()

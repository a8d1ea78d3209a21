"""Time and peak memory of labelling a whole room: `python -m benchmarks.million_points --points 1000000`.

A room is built of a real room's points (or of random ones), repeated with a little noise, so that its blocks are as
full as a scanner's. The model is a run of `act3d segment`, or a randomly initialized one of the size of small/scenes.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from act3d import checkpoints
from act3d.data.rooms import read_room
from act3d.evaluation.whole_room import segment_room
from act3d.models.segmenter import Segmenter


def room(number: int, source: Path | None) -> np.ndarray:
    """`number` points of a room."""
    rng = np.random.default_rng(0)
    if source is None:
        return (rng.random((number, 3)) * [6, 5, 3]).astype(np.float32)
    points = read_room(source, 13).points
    chosen = points[rng.integers(len(points), size=number)]
    return (chosen + rng.normal(size=chosen.shape) * 0.003).astype(np.float32)


def peak() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--room", type=Path, default=None, help="a <room>.npy to take points from")
    parser.add_argument("--votes", type=int, default=1)
    parser.add_argument("--count", type=int, default=1024, help="points of a cloud")
    parser.add_argument("--batch_size", type=int, default=16)
    options = parser.parse_args()
    if options.checkpoint:
        model: Segmenter = checkpoints.load(options.checkpoint, expect=Segmenter).model
    else:
        model = Segmenter(13, 0, 64, 16, width=96, depth=4, heads=3, head_widths=[256, 192, 128, 96]).eval()
    points = room(options.points, options.room)
    segment_room(model, points[:: max(1, len(points) // 5000)], model.classes, options.count, votes=1)  # warm up
    before, began = peak(), time.perf_counter()

    def progress(vote: int, done: int) -> None:
        if done % (options.count * options.batch_size * 50) == 0:
            print(f"vote {vote + 1}: {done} points, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)

    found = segment_room(
        model, points, model.classes, options.count, options.batch_size, votes=options.votes, progress=progress
    )
    seconds = time.perf_counter() - began
    print(
        f"{len(points)} points, {options.votes} vote(s), {torch.get_num_threads()} threads: {seconds:.1f} s; "
        f"peak memory {peak():.0f} MB, of which {peak() - before:.0f} MB for the room; {len(np.unique(found))} classes"
    )


if __name__ == "__main__":
    main()

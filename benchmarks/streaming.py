"""Reading a prepared dataset from its folder and from URLs, one epoch of training after the other, in turns.

    python -m benchmarks.streaming data/ldraw file:///work/data/ldraw s3://data/ldraw --rounds 3

Prints clouds a second, on the clock and of this process's processor time: medians. A URL is read twice a round: with no
copy on this disk, and with all of them there.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections import defaultdict

from act3d import remote
from act3d.data import open_dataset
from act3d.data.loading import make_loader
from act3d.files import is_remote

POINTS, BATCH, BUFFER = 1024, 64, 2048


def seconds_of_processor() -> float:
    """Seconds that this process, with all its threads, has computed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def epoch(place: str) -> tuple[float, float]:
    """Return clouds a second of an epoch: on the clock, and of processor time."""
    loader = make_loader(open_dataset(place, points=POINTS), BATCH, buffer=BUFFER)
    clock, processor = time.perf_counter(), seconds_of_processor()
    clouds = sum(len(batch["index"]) for batch in loader)
    return clouds / (time.perf_counter() - clock), clouds / (seconds_of_processor() - processor)


def measure(places: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the medians of `epoch` by place and state of the copies."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for place in places:
            # Shards may still be fetched ahead when an epoch has ended.
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                os.environ["ACT3D_CACHE"] = folder
                remote._checked.clear()
                if is_remote(place):
                    found[f"{place}, fetched"].append(epoch(place))
                found[f"{place}, copies there" if is_remote(place) else place].append(epoch(place))
    return {
        name: (statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs))
        for name, pairs in found.items()
    }


def main() -> None:
    """Measure the places that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("places", nargs="+", help="folders and URLs of prepared datasets")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for name, (clock, processor) in measure(given.places, given.rounds).items():
        print(f"{name:60} {clock:9.0f} on the clock {processor:9.0f} of processor time")


if __name__ == "__main__":
    main()

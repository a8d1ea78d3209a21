"""Mutated files of every format that is read: `python -m tests.faults.fuzz_readers --inputs 200000`.

Small valid files are changed at random: bytes flipped, runs cut, doubled or moved, numbers replaced by impossible ones,
counts in binary headers overwritten. A reader may give a shape or refuse; anything else is a fault:

- `unforeseen`: the reader stopped on an error it did not expect, which `read_shape` then reports as damage;
- `slow`: more than `SLOW` seconds for a file of a few kilobytes;
- `large`: a shape of more than `LARGE` vertices from such a file;
- `lost`: the process that read it died, hung, or ran out of memory.
"""

import argparse
import importlib
import random
import re
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from act3d.errors import InputError
from act3d.readers.by_suffix import READERS
from act3d.readers.guarded import Limits, Lost, read_all
from act3d.readers.las import open_las
from act3d.readers.shape import Shape, sample_surface
from tests.faults.seed_files import seed_files

BATCH = 100
SLOW, LARGE = 2.0, 2_000_000
LIMITS = Limits(30.0, 2 << 30)
NUMBERS = [
    b"-1", b"0", b"1", b"255", b"65536", b"2147483647", b"-2147483648", b"4294967296", b"99999999999999999999", b"nan",
    b"1e308", b"-1e-320", b"inf", b"1e999", b"", b"0x10", b"1_0", b"\xd9\xa3",
]  # fmt: skip
WORDS = [struct.pack(kind, value) for kind in ("<i", "<q", "<H", "<f") for value in (-1, 0, 1, 2**15 - 1) if not (
    kind == "<H" and value < 0)] + [b"\xff" * 4, b"\xff" * 8, b"\0" * 8, struct.pack("<d", 1e300)]  # fmt: skip


class Batch(NamedTuple):
    """The inputs of one request: `count` mutations of a seed file, numbered from `first`."""

    name: str
    first: int
    count: int


@dataclass
class Tally:
    """What became of a batch. `faults` are (input's number, kind, what happened)."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: list[tuple[int, str, str]] = field(default_factory=list)


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Change a file in one to four ways."""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 4))):
        data = dice.choice((_flip, _flip, _number, _number, _cut, _double, _move, _word, _word, _end))(data, dice)
    return data


def _flip(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        if changed:
            changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def _number(data: bytes, dice: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:4096]))
    if not found:
        return data
    chosen = dice.choice(found)
    return data[: chosen.start()] + dice.choice(NUMBERS) + data[chosen.end() :]


def _span(data: bytes, dice: random.Random) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + dice.choice((1, 2, 4, 16, 64, 256)))


def _cut(data: bytes, dice: random.Random) -> bytes:
    start, end = _span(data, dice)
    return data[:start] + data[end:]


def _double(data: bytes, dice: random.Random) -> bytes:
    start, end = _span(data, dice)
    return data[:end] + data[start:end] * dice.choice((1, 2, 30)) + data[end:]


def _move(data: bytes, dice: random.Random) -> bytes:
    start, end = _span(data, dice)
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[start:end] + data[at:]


def _word(data: bytes, dice: random.Random) -> bytes:
    word = dice.choice(WORDS)
    at = dice.randrange(min(len(data), 512) + 1)
    return data[:at] + word + data[at + len(word) :]


def _end(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def read_batch(batch: Batch, folder: Path, seed: int) -> Tally:
    """Mutate and read; runs in a process of its own."""
    source = (folder / batch.name).read_bytes()
    tally = Tally()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        # Files that others name lie beside them, as they would.
        for other in ("my buffer.bin", "t2.dat"):
            (Path(place) / other).write_bytes((folder / other).read_bytes())
        path = Path(place) / batch.name
        for number in range(batch.first, batch.first + batch.count):
            path.write_bytes(mutate(source, random.Random(f"{seed}:{batch.name}:{number}")))
            start = time.perf_counter()
            _read(path, number, tally)
            took = time.perf_counter() - start
            tally.slowest = max(tally.slowest, took)
            if took > SLOW:
                tally.faults.append((number, "slow", f"{took:.1f} s"))
    return tally


def _read(path: Path, number: int, tally: Tally) -> None:
    try:
        with np.errstate(all="ignore"):
            if path.suffix in (".las", ".laz"):
                shape = Shape(np.asarray(open_las(path).xyz, dtype=np.float64))
            else:
                shape = READERS[path.suffix](path)
            sample_surface(shape, 64, np.random.default_rng(0))
        tally.read += 1
        if len(shape.vertices) > LARGE:
            tally.faults.append((number, "large", f"{len(shape.vertices)} vertices"))
    except (InputError, RecursionError):
        tally.refused += 1
    except Exception as error:
        tally.refused += 1
        tally.faults.append((number, "unforeseen", f"{type(error).__name__}: {str(error)[:90]}"))


def fuzz(folder: Path, inputs: int, seed: int = 0, seconds: float = float("inf")) -> dict[str, tuple[Tally, int]]:
    """Read `inputs` mutations, spread over all seed files, until the time is over.

    Returns:
        By seed file: what became of its mutations, and how many inputs there were.
    """
    names = [path.name for path in sorted(seed_files(folder).iterdir()) if path.suffix in (*READERS, ".las", ".laz")]
    rounds = -(-inputs // (BATCH * len(names)))
    until = time.monotonic() + seconds

    def batches(asked: list[Batch]) -> Iterator[Batch]:
        for turn in range(rounds):
            for name in names:
                if time.monotonic() > until:
                    return
                asked.append(Batch(name, turn * BATCH, BATCH))
                yield asked[-1]

    results: dict[str, tuple[Tally, int]] = {name: (Tally(), 0) for name in names}
    asked: list[Batch] = []
    work = partial(read_batch, folder=folder, seed=seed)
    # The results first: what is asked grows while they are taken.
    for result, batch in zip(read_all(work, batches(asked), lambda _: LIMITS), asked, strict=False):
        found = result
        if isinstance(result, Lost):  # find the inputs that did it, one by one
            found = Tally()
            single = [Batch(batch.name, number, 1) for number in range(batch.first, batch.first + batch.count)]
            for one, outcome in zip(single, read_all(work, single, lambda _: LIMITS), strict=True):
                if isinstance(outcome, Lost):
                    found.faults.append((one.first, "lost", outcome.reason))
                else:
                    _add(found, outcome)
        assert isinstance(found, Tally)
        _add(results[batch.name][0], found)
        results[batch.name] = results[batch.name][0], results[batch.name][1] + batch.count
    return results


def _add(total: Tally, more: Tally) -> None:
    total.read, total.refused = total.read + more.read, total.refused + more.refused
    total.slowest = max(total.slowest, more.slowest)
    total.faults += more.faults


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    chosen = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="act3d-fuzz-") as folder:
        results = fuzz(Path(folder), chosen.inputs, chosen.seed, chosen.seconds)
    print(f"{'file':30s} {'inputs':>8s} {'read':>8s} {'refused':>8s} {'slowest':>8s}  faults")
    for name, (tally, count) in results.items():
        kinds = dict(Counter(kind for _, kind, _ in tally.faults))
        print(f"{name:30s} {count:8d} {tally.read:8d} {tally.refused:8d} {tally.slowest:7.2f}s  {kinds or ''}")
        seen: set[str] = set()
        for number, kind, what in tally.faults:
            if re.sub(r"\d+", "#", what) not in seen and len(seen) < 5:
                seen.add(re.sub(r"\d+", "#", what))
                print(f"    input {number}: {kind}: {what}")
    total = sum(count for _, count in results.values())
    print(f"{total} inputs in {time.monotonic() - start:.0f} s, seed {chosen.seed}")


if __name__ == "__main__":
    # By its name, under which the processes that read find it too.
    importlib.import_module("tests.faults.fuzz_readers").main()

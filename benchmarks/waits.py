"""What a user waits for, from start to answer: whole commands in processes of their own, small student, one machine.

With another source tree beside this one (`--against`), both run in turn, and their ratio is a row's number.
"""

import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import act3d
from benchmarks import loading, waiting

OURS = Path(act3d.__file__).parents[1]
CLOUDS, EMBEDDED, FILES, POINTS, CLASSES = 6000, 1000, 300, 1024, 40
STUDENT = """
import sys, torch, act3d
from act3d.models.student import Student
torch.manual_seed(0)
small = {"patches": 32, "width": 192, "depth": 4, "heads": 3, "decoder_heads": 3, "decoder_depth": 1}
student = Student(**small, shallow_block=2, teacher_width=128)
act3d.save(student, sys.argv[1], {"points": 1024, "normalization": "unit_sphere", "source_up": "y"})
"""


class Spent(NamedTuple):
    """Seconds of a command: of the processors, all its processes together, and on the clock."""

    processor: float
    wall: float


def write(
    folder: Path, clouds: int = CLOUDS, embedded: int = EMBEDDED, files: int = FILES, against: Path | None = None
) -> None:
    """A student of the small preset's size, `clouds` clouds of which `embedded` are of split train, OBJ files."""
    source = against or OURS  # newer code reads older checkpoints
    run(["-c", STUDENT, str(folder / "student.safetensors")], source)
    points = np.random.default_rng(0).uniform(-0.57, 0.57, (clouds, POINTS, 3)).astype(np.float16)
    rows = [(f"c{i % CLASSES}", "train" if i < embedded else "test") for i in range(clouds)]
    loading.write_packed(folder / "packed", points, rows)
    run(_epoch(folder, "autoencode", str(folder / "teacher")), source)
    (folder / "files").mkdir()
    for i in range(files):
        (folder / "files" / f"{i}.obj").write_text(_torus(40 - i % 32, 1 + i % 7))


def _epoch(folder: Path, command: str, out: str) -> list[str]:
    """One epoch of a small preset over the clouds of split train."""
    words = ["-m", "act3d", command, "--config", f"small/{command}", "--data.root", str(folder / "packed")]
    words += ["--data.split", "train", "--data.val_split", "none", "--trainer.min_steps", "0"]
    return [*words, "--optim.warmup_epochs", "0", "--trainer.epochs", "1", "--out", out]


def _torus(steps: int, bend: int) -> str:
    """A ring of steps^2 quadrilaterals as OBJ."""
    lines = []
    for a in np.linspace(0, 2 * math.pi, steps, endpoint=False):
        for b in np.linspace(0, 2 * math.pi, steps, endpoint=False):
            radius = 2 + math.cos(b) * (1 + 0.3 * math.sin(bend * a))
            lines.append(f"v {radius * math.cos(a):.6f} {math.sin(b):.6f} {radius * math.sin(a):.6f}")
    for a in range(steps):
        for b in range(steps):
            ring, other, after = a * steps, (a + 1) % steps * steps, (b + 1) % steps
            lines.append(
                "f " + " ".join(f"{k + 1}//{k + 1}" for k in (ring + b, ring + after, other + after, other + b))
            )
    return "\n".join(lines) + "\n"


def commands(folder: Path) -> dict[str, list[str]]:
    """What is typed, by the name of its row."""
    names = ("student.safetensors", "packed", "files", "teacher")
    student, packed, files, teacher = (str(folder / name) for name in names)
    use = ["--checkpoint", student, "--out"]
    load = f"import act3d; act3d.load({student!r})"
    return {
        "help": ["-m", "act3d", "--help"],
        "import": ["-c", "import act3d"],
        "load": ["-c", load],
        "check_data": ["-m", "act3d", "check-data", "sample"],
        "prepare_300": ["-m", "act3d", "prepare", files, "--out", str(folder / "out"), "--workers", "1"],
        "embed_1": ["-m", "act3d", "embed", str(folder / "files" / "0.obj"), *use, str(folder / "out.npz")],
        "embed_1000": ["-m", "act3d", "embed", packed, *use, str(folder / "out.npz"), "--data.split", "train"],
        "index_6000": ["-m", "act3d", "index", packed, *use, str(folder / "out")],
        "stage1_epoch": _epoch(folder, "autoencode", str(folder / "out")),
        "stage2_epoch": [*_epoch(folder, "pretrain", str(folder / "out")), "--teacher.checkpoint", teacher],
        "quickstart": ["-m", "act3d", "quickstart", "--out", str(folder / "out"), "--seeds", "1"],
    }


def run(words: list[str], source: Path) -> Spent:
    """Run python with these words and the package of a source tree.

    Raises:
        RuntimeError: The command failed; says how.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-500:]}")
    return Spent(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def rows(folder: Path, wanted: str, repeats: int, against: Path | None, busy: bool = False) -> Iterator[dict[str, Any]]:
    """Measure the commands whose name contains `wanted`: medians of `repeats` runs, both trees in turn.

    busy: beside two jobs that use a core each.
    """
    sources = [OURS] if against is None else [against, OURS]
    for name, words in commands(folder).items():
        if wanted not in name:
            continue
        spent: dict[Path, list[Spent]] = {source: [] for source in sources}
        for number in range(repeats):
            for source in sources if number % 2 == 0 else sources[::-1]:
                _forget_results(folder)
                with waiting.busy_jobs(waiting.BUSY_JOBS if busy else 0):
                    spent[source].append(run(words, source))
        row = {"name": name, "group": "waits", "busy": busy, **_medians(spent[OURS])}
        if against is not None:
            pairs = list(zip(spent[against], spent[OURS], strict=True))
            row |= {f"before_{key}": value for key, value in _medians(spent[against]).items()}
            row["ratio"] = statistics.median(old.processor / new.processor for old, new in pairs)
            row["wall_ratio"] = statistics.median(old.wall / new.wall for old, new in pairs)
        yield row


def _forget_results(folder: Path) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out.npz").unlink(missing_ok=True)


def _medians(runs: list[Spent]) -> dict[str, float]:
    processor = [spent.processor for spent in runs]
    middle = statistics.median(processor)
    return {
        "processor_s": middle,
        "spread": (max(processor) - min(processor)) / middle,
        "wall_s": statistics.median(spent.wall for spent in runs),
    }


def show(row: dict[str, Any]) -> str:
    """One line of the table."""
    line = f"{row['name']:<14}{row['processor_s']:>9.2f} s of processors ({row['spread']:.0%}){row['wall_s']:>9.2f} s"
    if "ratio" in row:
        line += f"   before {row['before_processor_s']:.2f} s, ratio {row['ratio']:.2f} (wall {row['wall_ratio']:.2f})"
    return line

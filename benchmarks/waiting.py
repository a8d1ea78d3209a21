"""How threads wait, on a quiet machine and beside two busy jobs: `python -m benchmarks --only waiting`.

Every way runs in a process of its own (python -m benchmarks.waiting WORK SECONDS [torch-first]), since OpenMP reads its
settings once; the ways take turns. The ratio is wall time over that of one thread under the same load.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

WORKS = ("small_stage1_step", "embed_128", "classifier_infer")
BUSY_JOBS = 2
_LIMIT = 600  # seconds after which a busy job ends by itself


class Way(NamedTuple):
    """A way of waiting: settings in the environment, and what is imported first."""

    name: str
    environment: dict[str, str]
    torch_first: bool = False


WAYS = (
    Way("one thread", {"OMP_NUM_THREADS": "1"}),
    Way("act3d", {}),
    Way("act3d, torch first", {}, torch_first=True),
    Way("spin 0", {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}),
    Way("spin 1000", {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}),
    Way("spin 29999", {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "29999"}),  # another number: not watched
    Way("OpenMP's default", {"GOMP_SPINCOUNT": "300000"}),
)


def table(repeats: int, quick: bool, rows: str = "") -> Iterator[dict[str, Any]]:
    """One row a work, load and way: milliseconds of one call (wall and processor time, medians), ratio and spread."""
    for work in (work for work in WORKS if rows in work):
        for load in ("quiet", "busy"):
            found = _measure(work, load == "busy", min(repeats, 3), 1.5 if quick else 4.0)
            one = statistics.median(wall for wall, _ in found[WAYS[0].name])
            for name, times in found.items():
                walls = [wall for wall, _ in times]
                middle = statistics.median(walls)
                row = {"name": work, "load": load, "way": name, "wall_ms": middle, "ratio": middle / one}
                row["cpu_ms"] = statistics.median(cpu for _, cpu in times)
                yield row | {"spread": (max(walls) - min(walls)) / middle}


def show(row: dict[str, Any]) -> str:
    """One line of the table."""
    return (
        f"{row['name']:<20}{row['load']:<7}{row['way']:<20}{row['wall_ms']:>9.0f} ms wall{row['cpu_ms']:>9.0f} ms cpu"
        f"{row['ratio']:>7.2f} of one thread{row['spread']:>7.0%}"
    )


@contextmanager
def busy_jobs(count: int) -> Iterator[None]:
    """So many processes beside that do nothing but use a core each."""
    with ExitStack() as stack:
        for _ in range(count):
            code = f"import time\nend = time.time() + {_LIMIT}\nwhile time.time() < end: pass"
            job = stack.enter_context(subprocess.Popen([sys.executable, "-c", code]))
            stack.callback(job.kill)
        yield


def _measure(work: str, busy: bool, rounds: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {way.name: [] for way in WAYS}
    with busy_jobs(BUSY_JOBS if busy else 0):
        for number in range(rounds):
            for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                found[way.name].append(_alone(way, work, seconds))
    return found


def _alone(way: Way, work: str, seconds: float) -> tuple[float, float]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    command = [sys.executable, "-c", "import torch\n" * way.torch_first + "from benchmarks.waiting import main; main()"]
    done = subprocess.run(
        [*command, work, str(seconds)], env=clean | way.environment, capture_output=True, text=True, check=True
    )
    wall, cpu = json.loads(done.stdout)
    return wall, cpu


def build(name: str) -> Any:
    """Return a work of `WORKS`: a function without arguments."""
    import torch

    from act3d.engine.optimizer import build_optimizer
    from act3d.models.autoencoder import Autoencoder
    from act3d.models.student import Student
    from act3d.settings.training import OptimConfig
    from act3d.use.load import predictor_for
    from benchmarks import steps

    torch.manual_seed(0)
    cpu = torch.device("cpu")
    if name == "classifier_infer":
        return steps.infer_ours(steps.Setting(cpu, 8, 2048, 128))
    if name == "embed_128":
        predictor, points = predictor_for(Student()), steps.clouds(steps.Setting(cpu, 128))
        return lambda: predictor.embed(points)
    minilm = {"width": 384, "depth": 6, "heads": 12}
    model = Autoencoder(32, 32, 128, 512, minilm, prompts=16, graph_width=256, folding_width=128).train()
    optimizer, points = build_optimizer(model, OptimConfig()), steps.clouds(steps.Setting(cpu, 8))

    def step() -> None:
        optimizer.zero_grad()
        patches = model.patchify(points)
        reconstruction, kl = model.loss(patches, model(patches, torch.ones(())))
        (reconstruction + kl).backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure one work in this process for some seconds; print the medians of wall and processor milliseconds."""
    work, seconds = build(sys.argv[1]), float(sys.argv[2])
    work()
    work()
    wall: list[float] = []
    cpu: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(wall) < 3:
        now, used = time.perf_counter(), time.process_time()
        work()
        wall.append(1e3 * (time.perf_counter() - now))
        cpu.append(1e3 * (time.process_time() - used))
    print(json.dumps([statistics.median(wall), statistics.median(cpu)]))

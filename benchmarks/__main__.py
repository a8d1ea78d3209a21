"""The speed of act3d against the textbook form, measured in turn in one process: `python -m benchmarks --help`."""

import argparse
import datetime
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import embedding, freed_memory, loading, machine, neighbors, scaling, small, waiting, waits
from benchmarks.measure import compare
from benchmarks.ops import BATCH, operations
from benchmarks.step_rows import INT8, STEPS, int8_row, step_row

GROUPS = ("waits", "steps", "ops", "neighbors", "data", "small", "scaling")
ASKED = ("waiting", "freed_memory", "embedding")  # only where --only names them: they load the machine, or take long


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--only", choices=(*GROUPS, *ASKED), action="append", help="one group; may be given several times"
    )
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="plot the scaling table here (.png, .svg)")
    parser.add_argument("--against", type=Path, metavar="SRC", help="waits: run this other source tree in turn")
    parser.add_argument("--busy", action="store_true", help="waits: beside two jobs that use a core each")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of every row (default 7)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, steps without memory, few sizes: minutes")
    parser.add_argument("--batch", type=int, default=0, help="another batch size for all steps")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time, for a shared machine",
    )
    parser.add_argument("--fp32", action="store_true", help="CUDA: ours in fp32 and not compiled either")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    if options.quick:
        options.repeats = min(options.repeats, 3)
    return options


def step_rows(options: argparse.Namespace, peak: float) -> Iterator[dict[str, Any]]:
    """Whole steps, then inference in int8; each in a fresh process, as in training: nothing is in memory yet."""
    names = [name for name in (*STEPS, INT8) if options.rows in name]
    if options.device == "cuda":
        names = [name for name in names if name != INT8]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in names:
            measure = int8_row if name == INT8 else partial(step_row, name)
            yield pool.submit(measure, options, peak).result()


def operation_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each operation of geometry/."""
    device = torch.device(options.device)
    for operation in operations(device):
        if options.rows in operation.name:
            measured = compare(operation.textbook, operation.ours, options.repeats, device, options.clock)
            row = {"name": operation.name, "group": "ops", "batch": BATCH, **measured._asdict(), "peak_share": None}
            yield row


def data_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """An epoch of reading."""
    clouds = 256 if options.quick else 2048
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        loading.write(root, clouds)
        for name, cold in (("load_cold", True), ("load_warm", False)):
            if options.rows in name:
                works = loading.epochs(root, clouds, cold)
                measured = compare(*works, options.repeats, torch.device("cpu"), "wall")
                speed = {"clouds_per_s": clouds / measured.ours_s}
                yield {"name": name, "group": "data", **measured._asdict(), **speed, "peak_share": None}


def wait_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Whole commands."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = (600, 100, 30) if options.quick else (waits.CLOUDS, waits.EMBEDDED, waits.FILES)
        waits.write(Path(folder), *sizes, options.against)
        yield from waits.rows(Path(folder), options.rows, options.repeats, options.against, options.busy)


# Operations, and the step of the released recipe that does them at these sizes.
USERS = {
    "sample_1024_64": "stage2_step",
    "knn_64_1024_k32": "stage2_step",
    "knn_64_64_k4": "stage1_step",
    "sample_2048_128": "classifier_step",
    "knn_128_2048_k32": "classifier_step",
    "sample_8192_1024": "classifier_1k_step",  # each step draws its points from those that are stored
    "sample_8192_512": "classifier_8k_step",
    "knn_512_8192_k32": "classifier_8k_step",
}


def add_shares_of_a_step(rows: list[dict[str, Any]]) -> None:
    """For sampling and neighbours: their share of the step that uses them, a cloud, where both were measured."""
    seconds = {row["name"]: row["ours_s"] / row["batch"] for row in rows if "batch" in row}
    for row in rows:
        user = USERS.get(row["name"])
        if user in seconds:
            row["step"], row["step_share"] = user, seconds[row["name"]] / seconds[user]


def show(row: dict[str, Any]) -> str:
    """One line of the table."""
    if row["group"] in ("waits", "neighbors"):
        return (waits if row["group"] == "waits" else neighbors).show(row)
    line = f"{row['name']:<26}{row['textbook_s']:>11.4f}{row['ours_s']:>10.4f}{row['ratio']:>8.2f}{row['spread']:>8.1%}"
    line += f"{row['peak_share']:>7.0%}" if row.get("peak_share") is not None else " " * 7
    if row.get("ours_mb") is not None:
        line += f"  {row.get('textbook_mb') or 0:>6.0f} -> {row['ours_mb']:.0f} MB"
    if "clouds_per_s" in row:
        line += f"  {row['clouds_per_s']:.0f} clouds/s"
    return line


def show_size(size: dict[str, Any]) -> str:
    """One line of the scaling table."""
    line = f"{size['grows']:<8}{size['value']:>6}"
    if size["seconds"] is None:
        return f"{line}  did not fit"
    numbers = f"{size['steps_per_s']:>9.3f} steps/s{size['clouds_per_s']:>8.1f} clouds/s{size['megabytes']:>8.0f} MB"
    return f"{line}{size['seconds']:>10.3f} s{numbers}"


def main() -> None:
    """Measure, print, write."""
    options = _arguments()
    device = torch.device(options.device)
    chosen = options.only or list(GROUPS)
    dtype = torch.bfloat16 if options.device == "cuda" and not options.fp32 else torch.float32
    info = machine.describe(device)
    peak = machine.matrix_peak(device, dtype, clock=options.clock)
    info |= {"matrix_peak_gflops": peak / 1e9, "matrix_peak_dtype": str(dtype), "clock": options.clock}
    info |= {"date": datetime.date.today().isoformat(), "repeats": options.repeats, "command": " ".join(sys.argv[1:])}
    print("\n".join(f"{key:<20} {value}" for key, value in info.items()))
    print(f"\n{'name':<26}{'textbook s':>11}{'ours s':>10}{'ratio':>8}{'spread':>8}{'peak':>7}", flush=True)
    rows: list[dict[str, Any]] = []
    sources = {"steps": partial(step_rows, options, peak), "ops": partial(operation_rows, options)}
    sources |= {"data": partial(data_rows, options), "waits": partial(wait_rows, options)}
    sources["neighbors"] = partial(neighbors.rows, options.rows, options.repeats, options.clock)
    sources["small"] = partial(small.rows, options.rows, options.repeats)
    for group in (group for group in sources if group in chosen):
        for row in sources[group]():
            rows.append(row)
            print(show(row), flush=True)
    add_shares_of_a_step(rows)
    for row in rows:
        if "step" in row:
            print(f"{row['name']:<26}{row['step_share']:>7.1%} of {row['step']}")
    sizes: list[dict[str, Any]] = []
    if "scaling" in chosen:
        for size in scaling.table(device, options.repeats, options.quick, options.clock):
            sizes.append(size)
            print(show_size(size), flush=True)
    loads: list[dict[str, Any]] = []
    if "waiting" in chosen:
        for found in waiting.table(options.repeats, options.quick, options.rows):
            loads.append(found)
            print(waiting.show(found), flush=True)
    if "freed_memory" in chosen:
        for found in freed_memory.table(options.repeats, options.quick):
            loads.append(found)
            print(freed_memory.show(found), flush=True)
    if "embedding" in chosen:
        for found in embedding.table(options.repeats, options.quick, options.rows):
            loads.append(found)
            print(embedding.show(found), flush=True)
    if options.plot and sizes:
        scaling.plot(sizes, options.plot)
    if options.json:
        info["load_after"] = machine.describe(device)["load"]
        options.json.write_text(
            json.dumps({"machine": info, "rows": rows, "scaling": sizes, "processor": loads}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

"""The fault table: `python -m tests.faults.table --times 12` does every fault so often and prints what was lost."""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from act3d.tables import Table
from tests.faults import interrupted as b
from tests.faults import replaced as r
from tests.faults import strangers as c
from tests.faults import teach_runs as t
from tests.faults.children import warm_up

Fault = Callable[[b.Stage, str, int], Iterator[str]]
# name, kind of run, fault, share of --times
FAULTS: list[tuple[str, str, Fault, float]] = [
    *((f"SIGKILL of {kind}, then --resume", kind, b.killed_runs, 1.0) for kind in b.OWN),
    *((f"a signal to {kind}, then --resume", kind, b.signalled_runs, 0.34) for kind in b.OWN),
    *((f"last.ckpt of {kind} damaged", kind, b.damaged_states, 0.34) for kind in b.OWN),
    *((f"SIGKILL while a finished {kind} is extended", kind, b.killed_extensions, 0.5) for kind in b.OWN),
    ("two runs into one folder at once", "autoencode", b.two_at_once, 0.25),
    ("variables of a launcher that is not there", "autoencode", b.stray_launchers, 0.67),
    *((f"files of {kind} limited in size", kind, b.limited_files, 0.5) for kind in b.OWN),
    *((f"full disk under {kind}", kind, b.full_disks, 0.5) for kind in b.OWN),
    ("full disk under prepare", "", r.full_prepares, 0.67),
    ("full disk under index", "", r.full_indexes, 0.67),
    ("SIGKILL of prepare --overwrite", "", r.killed_overwrites, 2.0),
    ("SIGKILL of teach in every step", "", t.killed_teaches, 0.67),
    ("two prepares into one folder at once", "", r.two_prepares, 0.25),
    ("SIGKILL of an update of an index", "", r.killed_indexes, 1.0),
    ("hostile files among good ones, prepare and again", "", c.hostile_prepare, 0.17),
    ("hostile files among good ones, embed and again", "", c.hostile_embed, 0.17),
    ("hostile files among good ones, index and search", "", c.hostile_index, 0.17),
    ("hostile files among good ones, predict", "", c.hostile_predict, 0.17),
    ("names of files that forge lines or are no UTF-8", "", c.names, 0.17),
    *((f"{what} damaged at random", what, c.damaged, 8.0) for what in c.DOCUMENTS),
]


def main() -> None:
    """Do all faults, or those whose name holds a word, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=12)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    warm_up()
    rows = []
    with tempfile.TemporaryDirectory(prefix="act3d-faults-") as folder:
        stage = b.Stage(Path(folder))
        for name, kind, fault, share in FAULTS:
            if asked.only not in name:
                continue
            began, results = time.monotonic(), do(stage, kind, fault, max(1, round(share * asked.times)))
            lost = [result for result in results or [] if result]
            done = "not possible here" if results is None else str(len(results))
            rows.append([name, done, str(len(lost)), f"{time.monotonic() - began:.0f} s"])
            print(*rows[-1], sep=" | ", flush=True)
            for result in lost[:5]:
                print(f"  {result}", flush=True)
    Table(["fault", "done", "lost", "took"], rows).print()


def do(stage: b.Stage, kind: str, fault: Fault, times: int) -> list[str] | None:
    """Do a fault; return what each was lost by, "" for nothing, or None where it cannot be done."""
    found: list[str] = []
    try:
        for result in fault(stage, kind, times):
            found.append(result)
    except PermissionError:
        return None
    except RuntimeError as error:  # a command that had to succeed did not
        found.append(str(error))
    return found


if __name__ == "__main__":
    main()

"""What processes tell each other."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from act3d.engine import processes

TWO = """
import sys
import torch
import torch.distributed as dist
from act3d.engine import processes

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
mine = torch.arange(6.0).view(3, 2).T + 10 * rank  # not contiguous
expected = torch.cat([torch.arange(6.0).view(3, 2).T + 10 * other for other in (0, 1)])
assert torch.equal(processes.gather_rows(mine), expected)
dist.destroy_process_group()  # its threads must end before the process does
"""


def test_one_process_keeps_its_rows() -> None:
    rows = torch.rand(3, 2)
    assert processes.gather_rows(rows) is rows


def run_both(program: str, folder: Path) -> None:
    """Run a program in two processes, which meet in a file of this folder; both must end well."""
    words = [[sys.executable, "-c", program, str(rank), str(folder / "meeting")] for rank in (0, 1)]
    running = [subprocess.Popen(word, stderr=subprocess.PIPE, text=True) for word in words]
    for process in running:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err


@pytest.mark.slow
def test_rows_of_two_processes_are_joined(tmp_path: Path) -> None:
    run_both(TWO, tmp_path)


ENDS = """
import atexit, os, sys
import torch.distributed as dist
from act3d import cli
from act3d.engine import processes

class Late:
    def __del__(self, abort=os.abort):
        abort()

late = Late()  # as a thread of torch that meets the interpreter's end
if sys.argv[1]:
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
processes.leave = lambda: print("left")
atexit.register(processes.leave)
atexit.register(print, "exit functions")
cli.main = lambda: print("done") or int(sys.argv[2])
cli.run()
"""


def test_one_of_a_group_ends_without_the_interpreters_end(tmp_path: Path) -> None:
    said = {}
    for name, place, code in (("alone", "", 0), ("well", str(tmp_path / "a"), 0), ("failed", str(tmp_path / "b"), 3)):
        words = [sys.executable, "-c", ENDS, place, str(code)]
        said[name] = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert said["alone"].returncode == -signal.SIGABRT
    assert (said["well"].returncode, said["failed"].returncode) == (0, 3), said
    assert said["well"].stdout.splitlines() == ["done", "exit functions", "left"]
    assert said["failed"].stdout.splitlines() == ["done", "exit functions"]  # the others may be amid an exchange

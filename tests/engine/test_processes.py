"""What processes tell each other."""

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

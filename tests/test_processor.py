"""Threads within a container's quota, and freed memory that stays."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import threadpoolctl
import torch

from act3d import processor


def tree(root: Path, files: dict[str, str]) -> Path:
    """Files below a folder, by name and text."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


CASES = {
    "v2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "v2, no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "v2, limit of a group above": (
        {
            "proc/self/cgroup": "0::/jobs/17:4\n",
            "sys/fs/cgroup/jobs/17:4/cpu.max": "max 100000\n",
            "sys/fs/cgroup/jobs/cpu.max": "400000 100000\n",
        },
        4,
    ),
    "v1": (
        {
            "proc/self/cgroup": "7:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",  # a container's own group is the uppermost
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        2,
    ),
    "v1, no limit": (
        {
            "proc/self/cgroup": "4:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "both": (
        {
            "proc/self/cgroup": "1:cpu:/a\n0::/\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/unified/cpu.max": "300000 100000\n",
        },
        0.5,
    ),
    "no control groups": ({"proc/version": "9\n"}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_quota(name: str, tmp_path: Path) -> None:
    files, expected = CASES[name]
    assert processor.quota(tree(tmp_path, files)) == expected


@pytest.mark.parametrize(("quota", "threads"), [(2.9, 2), (0.5, 1), (None, 4), (16.0, 4)])
def test_threads_stay_within_the_quota(quota: float | None, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processor, "quota", lambda: quota)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert processor._fit_threads().startswith(f"{threads} (")
        assert torch.get_num_threads() == threads
        torch.set_num_threads(4)
        monkeypatch.setenv("OMP_NUM_THREADS", "4")  # the user's own word
        assert processor._fit_threads() == "4 (OMP_NUM_THREADS=4)"
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


FAULTS = """
import resource, torch
import act3d.geometry
torch.set_num_threads(1)
for _ in range(6):
    torch.zeros(1 << 24).add_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.zeros(1 << 24).add_(1)  # 64 MB: 16384 pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_memory_that_tensors_free_is_not_faulted_in_again() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    def faults(**environment: str) -> int:
        command = [sys.executable, "-c", FAULTS]
        done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults() < 80_000  # of 163 840: a piece that does not fit is taken anew
    assert faults(MALLOC_MMAP_THRESHOLD_="65536") > 150_000  # the user's own word


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_works_run_at_once_and_each_multiplies_on_one_thread(torch_threads: Callable[[int], None]) -> None:
    torch_threads(2)
    meet = threading.Barrier(2, timeout=60)  # one after another, nobody would come

    def work(item: int) -> tuple[int, set[int]]:
        meet.wait()
        return item, blas_threads()

    before = blas_threads()
    assert processor.at_once(work, [3, 1, 2, 0]) == [(3, {1}), (1, {1}), (2, {1}), (0, {1})]
    assert blas_threads() == before


def test_with_one_thread_works_run_one_after_another(torch_threads: Callable[[int], None]) -> None:
    torch_threads(1)
    assert processor.at_once(lambda _: threading.get_ident(), [0, 1]) == 2 * [threading.get_ident()]


def test_an_error_of_a_work_is_raised(torch_threads: Callable[[int], None]) -> None:
    torch_threads(2)
    before = blas_threads()
    with pytest.raises(ZeroDivisionError):
        processor.at_once(lambda item: 1 / item, [1, 0, 2])
    assert blas_threads() == before

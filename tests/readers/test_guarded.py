"""Files that hang, die, or ask for too much memory cost themselves and nothing else."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from act3d.readers import guarded
from act3d.readers.by_suffix import read_shape
from act3d.readers.guarded import Limits, Lost, close_readers, limits_for, read_all, read_one
from act3d.readers.las import open_las
from tests.readers.helpers import HOSTILE
from tests.readers.misbehaving import read

LIMITS = Limits(20.0, 1 << 30)


def limited(task: str) -> Limits:
    return Limits(0.5, 1 << 30) if task in ("hang", "sleep") else LIMITS


BAD = {
    "exit": "took the process down (exit code 9)",
    "abort": "took the process down (SIGABRT)",
    "segfault": "took the process down (SIGSEGV)",
    "hang": "took longer than 0 s",
    "sleep": "took longer than 0 s",
    "memory": "needs more memory than the 1024 MiB",
    "panic": "PanicError: one line",
    "error": "KeyError: '\\x1b[2Jbad\\nname'",
}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_file_costs_itself_only(workers: int) -> None:
    tasks = ["a", "exit", "b", "abort", "segfault", "c", "hang", "print", "d", "sleep", "memory", "panic", "error", "e"]
    results = list(read_all(read, tasks, limited, workers))
    for task, result in zip(tasks, results, strict=True):
        if task in BAD:
            assert isinstance(result, Lost), task
            assert BAD[task] in result.reason
            assert result.reason.isprintable()
        else:
            assert result == task


def test_one_process_reads_file_after_file() -> None:
    pids = list(read_all(read, ["pid"] * 50, limited))
    assert len(set(pids)) == 1
    assert os.getpid() not in pids
    assert read_one(read, "pid", LIMITS) == pids[0]
    read_one(read, "exit", LIMITS)
    assert read_one(read, "pid", LIMITS) not in (pids[0], os.getpid())


def test_relative_paths_are_those_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.xyz").write_text("0 0 0\n1 0 0\n0 1 0\n0 0 1\n")
        monkeypatch.chdir(tmp_path / name)
        assert not isinstance(read_one(read_shape, Path("a.xyz"), LIMITS), Lost)
        (tmp_path / name / "a.xyz").unlink()


def test_a_reader_that_died_while_idle_is_replaced() -> None:
    first = read_one(read, "pid", LIMITS)
    assert isinstance(first, int)
    os.kill(first, 9)
    time.sleep(0.2)
    assert isinstance(read_one(read, "pid", LIMITS), int)


def test_tasks_are_read_as_they_are_needed_and_stopping_early_leaves_nobody_behind() -> None:
    close_readers()
    seen: list[int] = []

    def tasks() -> object:
        for i in range(1000):
            seen.append(i)
            yield "pid" if i < 3 else "sleep"

    results = read_all(read, tasks(), lambda _: LIMITS, 2)  # type: ignore[arg-type]
    pids = [next(results) for _ in range(3)]
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10
    assert len(seen) <= 3 + guarded.AHEAD * 2
    for pid in set(pids):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)  # type: ignore[arg-type]


def test_the_process_ends_with_its_parent() -> None:
    code = (
        "import os\nfrom act3d.readers.guarded import Limits, read_one\nfrom tests.readers.misbehaving import read\n"
        "print(read_one(read, 'pid', Limits(20.0, 1 << 30)), flush=True)\nos.kill(os.getpid(), 9)"
    )
    # Without a main guard: the script must not run again in the process that reads.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | path())
    assert len(done.stdout.split()) == 1, done.stderr
    until = time.monotonic() + 10
    while time.monotonic() < until and Path(f"/proc/{done.stdout.strip()}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)}


def test_a_forked_child_gets_readers_of_its_own() -> None:
    mine = read_one(read, "pid", LIMITS)
    inside, out = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(out, str(read_one(read, "pid", LIMITS)).encode())
            close_readers()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(inside, 100).decode()
    assert theirs.isdigit()
    assert theirs != str(mine)
    assert read_one(read, "pid", LIMITS) == mine


@pytest.mark.parametrize("path", sorted(HOSTILE.iterdir()), ids=lambda path: path.name)
def test_hostile_files_end_in_one_line(path: Path) -> None:
    if path.suffix in (".las", ".laz"):
        pytest.importorskip("laspy")
    function = open_las if path.suffix in (".las", ".laz") else read_shape
    result = read_one(function, path, limits_for(path))
    assert isinstance(result, Lost)
    assert result.reason.isprintable()
    assert "took longer" not in result.reason


def test_limits_grow_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 50_000_000)
    small, big = limits_for(HOSTILE / "neg.ply"), limits_for(tmp_path / "big")
    assert small.seconds == pytest.approx(60, abs=1)
    assert big.seconds == pytest.approx(160, abs=1)
    assert small.memory <= big.memory
    assert limits_for(tmp_path / "big", workers=1000).memory < big.memory
    assert limits_for(tmp_path / "gone").seconds == 60


def test_what_nobody_waits_for_any_more_is_given_up() -> None:
    given_up = threading.Event()
    timer = threading.Timer(0.3, given_up.set)
    timer.start()
    found = read_one(read, "hang", Limits(250.0, 1 << 30), given_up)
    assert isinstance(found, Lost)
    assert "SIGKILL" in found.reason
    assert read_one(read, "a", LIMITS, threading.Event()) == "a"
    assert not isinstance(read_one(read, "pid", LIMITS), Lost)

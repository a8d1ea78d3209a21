"""How OpenMP's threads wait: set before torch, watched while it computes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from act3d import waiting

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def spin_count(code: str, **environment: str) -> str:
    """What GOMP_SPINCOUNT is after some code, in a process without settings of OpenMP but these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    code += "; import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True).stdout


def test_waiting_is_set_before_torch_and_never_over_the_users() -> None:
    assert spin_count("import act3d").strip() == "30000"
    assert spin_count("import torch, act3d").strip() == "None"  # too late: OpenMP has read it
    assert spin_count("import act3d", OMP_WAIT_POLICY="ACTIVE").strip() == "None"
    assert spin_count("import act3d", GOMP_SPINCOUNT="7").strip() == "7"


def test_what_act3d_set_is_not_the_users() -> None:
    assert waiting.chosen_by_user({}) == waiting.chosen_by_user(waiting.SPINNING) == ""
    assert waiting.chosen_by_user({"OMP_WAIT_POLICY": "PASSIVE"}) == "OMP_WAIT_POLICY=PASSIVE"
    assert "GOMP_SPINCOUNT=5" in waiting.chosen_by_user({**waiting.SPINNING, "GOMP_SPINCOUNT": "5"})


def test_the_most_delayed_thread_counts(tmp_path: Path) -> None:
    for task in ("11", "12"):
        (tmp_path / task).mkdir()
        (tmp_path / task / "schedstat").write_text("500000000 900000000 77\n")
    delays = waiting.Delays(tmp_path)
    (tmp_path / "12" / "schedstat").write_text("600000000 1900000000 99\n")  # one second more
    (tmp_path / "13").mkdir()  # a thread that has just begun, and one that has just ended
    (tmp_path / "13" / "schedstat").write_text("0 5000000000 1\n")
    (tmp_path / "14").mkdir()
    began = time.monotonic()
    share = delays.share()
    assert 1 / (time.monotonic() - began + 1) < share <= 1000
    assert delays.share() == 0


def test_without_counts_nothing_is_watched(tmp_path: Path) -> None:
    (tmp_path / "11").mkdir()
    with pytest.raises(OSError):
        waiting.Delays(tmp_path)


class Switch:
    """Stands for `Waiting`."""

    spins = True

    def sleep(self) -> None:
        self.spins = False

    def spin(self) -> None:
        self.spins = True


def looks(watch: waiting.Watch, start: float, seconds: float, share: float) -> list[bool]:
    """What the switch says after looks at so many seconds, while threads that spin are delayed by a share."""
    states = []
    for number in range(round(seconds / waiting.PERIOD)):
        watch.look(share if watch.waiting.spins else 0.0, start + waiting.PERIOD * number)
        states.append(watch.waiting.spins)
    return states


def test_threads_sleep_while_others_use_the_cores_and_try_again_ever_less_often() -> None:
    watch = waiting.Watch(Switch())  # type: ignore[arg-type]
    assert all(looks(watch, 100, 10, share=0.1))
    busy = looks(watch, 110, 60, share=0.4)
    assert not busy[0]
    assert 6 <= sum(busy) <= 14  # half a second, one, two, four, then every eight
    idle = looks(watch, 170, 30, share=0.0)
    assert all(idle[round(waiting.LONGEST / waiting.PERIOD) :])  # and again at once: the pause is short after quiet
    assert sum(not spins for spins in looks(watch, 200, 0.8, share=0.4)[:4]) >= 3


@ON_LINUX
def test_a_sleeping_team_is_more_threads_than_cores_until_it_ends() -> None:
    library = waiting.gnu_openmp()
    if library is None:
        pytest.skip("this torch has no GNU OpenMP")
    before = len(os.listdir("/proc/self/task"))
    switch = waiting.Waiting(library, cores=3)
    switch.sleep()
    switch.sleep()
    assert not switch.spins
    assert len(os.listdir("/proc/self/task")) == before + 4  # three of the library's, and the one that owns them
    assert torch.ones(300_000).sum() == 300_000
    switch.spin()
    assert switch.spins
    deadline = time.monotonic() + 20
    while len(os.listdir("/proc/self/task")) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) == before


@ON_LINUX
@pytest.mark.parametrize(
    ("code", "watched"),
    [
        ("import act3d.kernels", True),
        ("import torch, act3d.kernels", True),
        ("import os; os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'; import act3d.kernels", False),
        ("import torch; torch.set_num_threads(1); import act3d.kernels", False),
    ],
)
def test_who_computes_is_watched(code: str, watched: bool) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    code += "; import threading; print('act3d-watch' in [thread.name for thread in threading.enumerate()])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(watched)

"""How the threads of one operation wait for each other: a balance between an idle machine and a shared one.

torch shares an operation among threads by OpenMP; those that are done first wait. A thread that spins sees the next
operation at once: with small matrices this is worth half of a step's time. But where other programs use the cores,
threads spin in the time of the very thread that they wait for: a step then takes 3 to 16 times as long. No fixed
length of spinning serves both (benchmarks/RESULTS.md). So a watch asks the kernel some times a second how long our
threads waited for a core. They spin while that is short, and sleep at once where other programs use the cores. The
number of threads stays the same: it decides in which order numbers are added, and a run must be repeatable.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

SPINNING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "30000"}  # half a millisecond, then sleep
PERIOD = 0.2  # seconds between two looks
TOLERATED = 0.2  # share of the time that a spinning thread may wait for a core
SHORTEST, LONGEST = 0.5, 8.0  # seconds of sleeping before spinning is tried again


def set_waiting() -> None:
    """Set how long threads spin, for this process and those that it starts; before torch is imported, or never."""
    if "torch" not in sys.modules and not any(name in os.environ for name in SPINNING):
        os.environ.update(SPINNING)


def chosen_by_user(environment: Mapping[str, str] = os.environ) -> str:
    """Return the user's own settings of OpenMP's waiting, such as "OMP_WAIT_POLICY=ACTIVE"; empty where there are none.

    What `set_waiting` has set, here or in the process that started this one, is not the user's.
    """
    given = {name: environment[name] for name in SPINNING if name in environment}
    return "" if given == SPINNING else ", ".join(f"{name}={value}" for name, value in given.items())


class Delays:
    """How long this process's threads were ready to run and waited for a core.

    Args:
        tasks: the folder in which the kernel counts this, a folder a thread.

    Raises:
        OSError: it does not count this (not Linux, or an unusual kernel).
    """

    def __init__(self, tasks: str | Path = "/proc/self/task") -> None:
        self._tasks = str(tasks)
        (Path(tasks) / os.listdir(tasks)[0] / "schedstat").read_text()
        self._last, self._at = self._now(), time.monotonic()

    def share(self) -> float:
        """Share of the time since the last call for which the most delayed thread waited for a core.

        The thread that asks is left out.
        """
        then, self._last = self._last, self._now()
        began, self._at = self._at, time.monotonic()
        longest = max((waited - then.get(task, waited) for task, waited in self._last.items()), default=0)
        return longest * 1e-9 / max(self._at - began, 1e-3)

    def _now(self) -> dict[str, int]:
        """Nanoseconds that every thread but the one that asks has waited for a core."""
        waited, own = {}, str(threading.get_native_id())
        for task in set(os.listdir(self._tasks)) - {own}:
            with contextlib.suppress(OSError), open(f"{self._tasks}/{task}/schedstat", "rb", buffering=0) as file:
                waited[task] = int(file.read(96).split()[1])  # on a core, waiting for one, times on one
        return waited


class Waiting:
    """Lets threads of GNU's OpenMP spin, or sleep at once.

    The library spins briefly or not at all while it has more threads than cores. So a team of threads that does nothing
    but sleep switches spinning off, and its end switches it on again.

    Args:
        library: GNU's OpenMP that torch has loaded.
        cores: how many there are.
    """

    def __init__(self, library: "ctypes.CDLL", cores: int) -> None:
        import ctypes  # `import act3d` itself needs none

        self._library, self._team = library, cores + 1
        self._nothing = ctypes.cast(library.omp_get_level, ctypes.c_void_p)  # a function without an effect
        self._end: threading.Event | None = None

    @property
    def spins(self) -> bool:
        """Whether waiting threads spin."""
        return self._end is None

    def sleep(self) -> None:
        """Let threads sleep as soon as they wait."""
        if self._end is None:
            self._end, ready = threading.Event(), threading.Event()
            threading.Thread(target=self._hold, args=(ready, self._end), name="act3d-team", daemon=True).start()
            ready.wait()

    def spin(self) -> None:
        """Let threads spin before they sleep."""
        if self._end is not None:
            self._end.set()
            self._end = None

    def _hold(self, ready: threading.Event, end: threading.Event) -> None:
        """Own a team of threads until the end: the library ends a team with the thread that began it."""
        self._library.GOMP_parallel(self._nothing, None, self._team, 0)
        ready.set()
        end.wait()


def gnu_openmp() -> "ctypes.CDLL | None":
    """Return GNU's OpenMP of torch, as it is loaded; None where torch has another one (macOS, Intel's)."""
    import ctypes

    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    found = {line.split(maxsplit=5)[5] for line in lines if "libgomp" in line}  # other packages may bring one as well
    path = min(found, key=lambda name: "torch" not in name, default=None)
    return None if path is None else ctypes.CDLL(path)


def watch(threads: int) -> Waiting | None:
    """Start to watch for how long threads wait for cores, in a thread that ends with the process.

    Args:
        threads: of an operation.

    Returns:
        What is switched, for `act3d doctor`; None where there is nothing to watch: one thread, waiting that the user
        has set, or another system.
    """
    library = gnu_openmp()
    if threads < 2 or chosen_by_user() or library is None:
        return None
    try:
        delays = Delays()
    except OSError:
        return None
    waiting = Waiting(library, len(os.sched_getaffinity(0)))
    threading.Thread(target=_watch, args=(delays, Watch(waiting)), name="act3d-watch", daemon=True).start()
    return waiting


def _watch(delays: Delays, watch: "Watch") -> None:
    took = 0.0
    while True:
        time.sleep(max(PERIOD, 50 * took))  # a look at many threads may itself take long
        began = time.thread_time()
        watch.look(delays.share(), time.monotonic())
        took = time.thread_time() - began


class Watch:
    """Decides after every look whether threads spin.

    Where spinning threads have to wait for cores, they sleep from then on. Whether others still use the cores shows
    only while they spin (threads that sleep keep out of the way): so they try again after a while, which grows from
    half a second to eight.
    """

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self._pause, self._until, self._since = SHORTEST, 0.0, 0.0

    def look(self, share: float, now: float) -> None:
        """Take up what `Delays.share` says at a time in seconds."""
        if not self.waiting.spins:
            if now >= self._until:
                self.waiting.spin()
                self._since = now
        elif share > TOLERATED:
            self._pause = min(2 * self._pause, LONGEST) if now - self._since < self._pause else SHORTEST
            self._until = now + self._pause
            self.waiting.sleep()

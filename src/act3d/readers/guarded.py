"""Reading untrusted files in processes of their own: one that hangs, dies or runs out of memory costs its file only.

One process a worker reads file after file; one that dies or takes too long is replaced. It is a fresh interpreter,
neither forked (unsafe beside threads) nor spawned by `multiprocessing` (which runs the caller's script again), and
imports no torch.
"""

import atexit
import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from act3d.errors import Act3dError
from act3d.files import printable

Task = TypeVar("Task")
Result = TypeVar("Result")

SECONDS, SECONDS_A_MEGABYTE = 60.0, 2.0  # wall time of one file
MEMORY, MEMORY_A_BYTE = 2 << 30, 60  # address space of one file beyond what the process has
MEMORY_SHARE = 0.8  # of the machine's memory, for all workers together
AHEAD = 4  # tasks a worker that wait for it or for their turn
LONGEST_REASON = 200
WATCH_SECONDS = 0.2


class Limits(NamedTuple):
    """Wall time in seconds and address space in bytes that one file may take."""

    seconds: float
    memory: int


class Lost(NamedTuple):
    """Why a file gave nothing: one printable line."""

    reason: str


def limits_for(path: str | os.PathLike[str], workers: int = 1) -> Limits:
    """Return the limits of a file, by its size."""
    try:
        return limits_of(os.stat(path).st_size, workers)
    except (OSError, ValueError):  # the reader will say so
        return limits_of(0, workers)


def limits_of(size: int, workers: int = 1) -> Limits:
    """Return the limits of so many bytes to be read; at most a worker's share of the machine's memory."""
    memory = MEMORY + MEMORY_A_BYTE * size
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = min(memory, int(MEMORY_SHARE * whole) // max(workers, 1))
    return Limits(SECONDS + SECONDS_A_MEGABYTE * size / 1e6, memory)


def _one_line(error: BaseException) -> str:
    """Return one printable line about an error; those that are not ours are named."""
    text = " ".join(str(error).split())
    if not isinstance(error, Act3dError):
        text = f"{type(error).__name__}: {text}"
    return printable(text)[:LONGEST_REASON]


class _Watch(threading.Thread):
    """Kills readers whose time is over, or that nobody waits for.

    One thread for all: one for every file would cost more than small files do.
    """

    def __init__(self) -> None:
        super().__init__(name="reading-watch", daemon=True)
        self.deadlines: dict[Reader, tuple[float, threading.Event | None]] = {}
        self.busy = threading.Event()
        self.start()

    def run(self) -> None:
        while True:
            self.busy.wait()
            time.sleep(WATCH_SECONDS)
            now = time.monotonic()
            for reader, (deadline, given_up) in list(self.deadlines.items()):
                reader.late = now > deadline
                if reader.late or (given_up is not None and given_up.is_set()):
                    reader.process.kill()
            if not self.deadlines:
                self.busy.clear()


class Reader:
    """A process that runs one function after another for us."""

    def __init__(self) -> None:
        quiet = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        command = [sys.executable, "-P", "-c", "from act3d.readers.guarded import serve; serve()"]
        self.late = False
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, **quiet, "PYTHONPATH": path},
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self.late and self.process.poll() is None

    def ask(
        self, function: Callable[[Task], Result], task: Task, limits: Limits, given_up: threading.Event | None = None
    ) -> Result | Lost:
        """Return `function(task)`, or why there is none; afterwards look at `alive`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            folder = os.getcwd()
        except OSError:  # it was removed: then only absolute paths are of use
            folder = os.sep
        request = pickle.dumps((function, task, limits, folder))
        watch = _watch()
        watch.deadlines[self] = time.monotonic() + limits.seconds, given_up
        watch.busy.set()
        try:
            self.process.stdin.write(request)
            self.process.stdin.flush()
            answer: Result | Lost = pickle.load(self.process.stdout)
            return answer
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)  # its own end says more than ours
            self.close()
            if self.late:
                return Lost(f"took longer than {limits.seconds:.0f} s")
            return Lost(f"reading it took the process down ({_ending(self.process.returncode)})")
        finally:
            del watch.deadlines[self]

    def close(self) -> None:
        """End the process."""
        ended = self.process.poll()
        if ended is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        self.process.wait()


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


_idle: list[Reader] = []
_watches: list[_Watch] = []


def _forget() -> None:
    """In a forked child: our pipes are the parent's to speak through, and its threads are gone."""
    _idle.clear()
    _watches.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _watch() -> _Watch:
    if not _watches:
        _watches.append(_Watch())
    return _watches[0]


@atexit.register
def close_readers() -> None:
    """End the processes that wait for work."""
    while _idle:
        _idle.pop().close()


def _take() -> Reader:
    while _idle:
        with contextlib.suppress(IndexError):  # another thread was faster
            reader = _idle.pop()
            if reader.alive:
                return reader
            reader.close()
    return Reader()


def read_all(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    limits: Callable[[Task], Limits],
    workers: int = 1,
    given_up: threading.Event | None = None,
) -> Generator[Result | Lost, None, None]:
    """Yield `function(task)` of each task, in order, or `Lost` with the reason; nothing that a task does ends it.

    Args:
        function: Importable by name, without torch if it can be; whatever it raises makes its task `Lost`.
        tasks: What it is called with, one after the other; read as they are needed.
        limits: What each may take; see `limits_for`.
        workers: Processes.
        given_up: What is being read when this is set is `Lost`.
    """
    busy: set[Reader] = set()
    stopped = threading.Event()

    def run(task: Task) -> Result | Lost:
        reader = _take()
        busy.add(reader)
        try:
            return Lost("stopped") if stopped.is_set() else reader.ask(function, task, limits(task), given_up)
        finally:
            busy.discard(reader)
            if reader.alive and not stopped.is_set():
                _idle.append(reader)
            else:
                reader.close()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="reading")
    waiting: deque[Future[Result | Lost]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(run, task))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also when the caller stops early: files that are being read are abandoned
        stopped.set()
        for future in waiting:
            future.cancel()
        for reader in list(busy):
            reader.process.kill()
        pool.shutdown(wait=True)


def read_one(
    function: Callable[[Task], Result], task: Task, limits: Limits, given_up: threading.Event | None = None
) -> Result | Lost:
    """`read_all` of a single task."""
    with contextlib.closing(read_all(function, [task], lambda _: limits, 1, given_up)) as results:
        return next(results)


def serve() -> None:
    """Answer requests on the standard streams until they end: what runs in a `Reader`'s process."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what a library prints must not become an answer
        os.dup2(nothing, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            function, task, limits, folder = pickle.load(requests)
            with contextlib.suppress(OSError):
                os.chdir(folder)  # relative paths are the caller's, who may have moved since the last file
            answers.write(_answer(function, task, limits))
            answers.flush()


def _answer(function: Callable[[Any], Any], task: Any, limits: Limits) -> bytes:
    try:
        _limit(limits)
        return pickle.dumps(function(task), protocol=5)
    except MemoryError:
        return pickle.dumps(Lost(f"needs more memory than the {limits.memory >> 20} MiB that one file may take"))
    except BaseException as error:  # decompressors panic with errors that are no Exception
        return pickle.dumps(Lost(_one_line(error)))


def _limit(limits: Limits) -> None:
    """Limit the address space, and the processor time in case the parent is gone."""
    try:
        import resource
    except ImportError:  # not on Windows: there the time limit alone protects
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + 2 * limits.seconds + 5)
    _soften(resource, resource.RLIMIT_CPU, seconds)
    _soften(resource, resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:  # Linux only
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _soften(resource, resource.RLIMIT_AS, now + limits.memory)


def _soften(resource: Any, which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))

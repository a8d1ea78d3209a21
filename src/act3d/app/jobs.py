"""Work in the background, one piece after the other, whose progress the page shows and which it can stop."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from act3d.errors import Act3dError, reason_of
from act3d.progress import Progress

SHOWN_FAILURES = 50


class Stopped(Exception):
    """The work was to be stopped."""


@dataclass
class State:
    """How far the work is.

    Attributes:
        running: Whether there is any.
        text: What is done.
        done, total: Shapes; total 0 = not known.
        left: Seconds that are left, as text.
        failures, failed: Lines about files that could not be read, the first ones, and how many there are.
        error: Why the last work failed, in one line.
    """

    running: bool = False
    text: str = ""
    done: int = 0
    total: int = 0
    left: str = ""
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    error: str = ""


class JobProgress(Progress):
    """Progress that also tells a state, and ends the work that reports to it once it is to be stopped."""

    def __init__(self, state: State, stopping: threading.Event) -> None:
        super().__init__(text="embedding", unit="shapes")
        self.state, self.stopping = state, stopping

    def update(self, done: int, total: int = 0, text: str = "") -> None:
        """See `Progress`.

        Raises:
            Stopped: It is to be stopped.
        """
        super().update(done, total, text)
        self.state.done, self.state.total = self.done, self.total
        whole = self.total > 0 and self.done >= self.total
        self.state.left = self.time_left(time.monotonic()) if not whole else ""
        self.state.text = "Finishing the index" if whole else "Embedding shapes"
        if self.stopping.is_set():
            raise Stopped

    def say(self, text: str) -> None:
        """Print a line about a file that cannot be read, and keep it for the page."""
        super().say(text)
        self.state.failed += 1
        if len(self.state.failures) < SHOWN_FAILURES:
            self.state.failures.append(text.removeprefix("act3d: "))


class Jobs:
    """A thread that does one piece of work after the other."""

    def __init__(self) -> None:
        self.state = State()
        self.stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._last: Future[None] | None = None

    def start(self, text: str, work: Callable[[JobProgress], None]) -> "Future[None]":
        """Do `work` after what was started before; what goes wrong stands in the state."""

        def run() -> None:
            if self.stopping.is_set():
                return
            self.state = state = State(True, text)
            try:
                work(JobProgress(state, self.stopping))
            except Stopped:
                state.text = "Stopped; what was embedded is kept"
            except Act3dError as error:
                state.error = reason_of(error)
            except Exception as error:  # a defect must not end the page
                state.error = f"{type(error).__name__}: {reason_of(error)}"
            state.running = False

        self._last = self._thread.submit(run)
        return self._last

    def stop(self) -> None:
        """Stop what is done now, and forget what waits."""
        self.stopping.set()
        if self._last is not None:
            self._last.add_done_callback(lambda _: self.stopping.clear())

    def close(self) -> None:
        """Stop, and wait until the work has ended."""
        self.stopping.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def about(self) -> dict[str, Any]:
        """Return the state for the page."""
        return asdict(self.state)

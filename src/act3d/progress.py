"""Progress of long work: a moving bar on a terminal, a plain line now and then in a log file or a pipe."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from act3d.files import printable

TERMINAL_SECONDS = 0.2
LOG_SECONDS = 30.0
PHASE_SECONDS = 3.0

T = TypeVar("T")


def duration_text(seconds: float) -> str:
    """Return seconds as "45s", "3m05s" or "2h07m"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Progress:
    """Progress over a number of items, on the error stream. Also a context manager, which removes the bar at its end.

    Args:
        total: items of the whole work; 0 = not known yet (see `update`).
        done: items that were done before, when a run is resumed; they do not count for the time left.
        enabled: False prints nothing (every process but the first).
        stream: where to print; the error stream by default.
        text: what is going on, such as "embedding".
        unit: what is counted, such as "shapes"; empty shows no counts.
    """

    def __init__(
        self,
        total: int = 0,
        done: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
        text: str = "",
        unit: str = "",
    ) -> None:
        self.total, self.done, self.enabled, self.text, self.unit = total, done, enabled, text, unit
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self._started, self._began_at = time.monotonic(), done
        self._paused = 0.0
        self._shown = float("-inf")
        self._bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def advance(self, text: str = "", count: int = 1) -> None:
        """Count `count` items; show `text` with the time left if the last line is old enough."""
        self.update(self.done + count, text=text)

    def update(self, done: int, total: int = 0, text: str = "") -> None:
        """Set how many items are done, and how many there are if that was not known; show it as `advance` does."""
        self.done, self.total, self.text = done, total or self.total, text or self.text
        now = time.monotonic()
        if self.enabled and now - self._shown >= (TERMINAL_SECONDS if self.terminal else LOG_SECONDS):
            self._shown = now
            self._show(now)

    def time_left(self, now: float) -> str:
        """Return the time left, at the pace since the start and without pauses."""
        pace = (now - self._started - self._paused) / max(1, self.done - self._began_at)
        return duration_text(pace * max(0, self.total - self.done))

    def pause(self, seconds: float) -> None:
        """Leave out time that went into something else than these items, such as validation."""
        self._paused += seconds

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if not self.enabled:
            return
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def clear(self) -> None:
        """Remove the bar from the terminal; the next `advance` shows it again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, now: float) -> None:
        counts = f"{self.done}/{self.total} {self.unit}" if self.unit and self.total else ""
        left = f"{self.time_left(now)} left" if self.total else ""
        if not self.terminal:
            print("  ".join(part for part in (self.text, counts, left) if part), file=self.stream, flush=True)
            return
        if self._bar is None:
            what, numbers = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[counts]"))
            self._bar = _open(self.stream, what, BarColumn(bar_width=20), numbers)
            self._bar.add_task("", counts="")
            self._bar.start()
        place, shown = self._bar.task_ids[0], f"{counts}  {left}".strip()
        self._bar.update(place, description=self.text, total=self.total or None, completed=self.done, counts=shown)
        self._bar.refresh()


def _open(stream: TextIO, *columns: ProgressColumn, moves_alone: bool = False) -> RichProgress:
    # While a bar is shown rich sends printed lines to its own console, above the bar. Standard output may go to a
    # file while the error stream is a terminal: it must not be taken along.
    return RichProgress(
        *columns,
        console=Console(file=stream),
        auto_refresh=moves_alone,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )


def track(items: Iterable[T], total: int, text: str, unit: str, enabled: bool = True) -> Iterator[T]:
    """Yield `items`, of which there are `total`, and show the progress over them."""
    with Progress(total, enabled=enabled, text=text, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


@contextmanager
def phase(text: str, enabled: bool = True, stream: TextIO | None = None) -> Iterator[None]:
    """Show what is going on where nothing can be counted: a moving sign on a terminal, a line in a log if it lasts."""
    stream = stream or sys.stderr
    if enabled and stream.isatty():
        description = TextColumn("{task.description}", markup=False)
        with _open(stream, SpinnerColumn(), description, TimeElapsedColumn(), moves_alone=True) as bar:
            bar.add_task(text, total=None)
            yield
        return
    timer = threading.Timer(PHASE_SECONDS, lambda: print(f"{text} ...", file=stream, flush=True))
    timer.daemon = True
    if enabled:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()

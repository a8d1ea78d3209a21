"""One line on the terminal that says how training goes; in a log file, a plain line now and then."""

import sys
import time
from typing import TextIO

TERMINAL_SECONDS = 0.2
LOG_SECONDS = 30.0


def duration_text(seconds: float) -> str:
    """Return seconds as "45s", "3m05s" or "2h07m"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Progress:
    """Progress over a known number of batches.

    Args:
        total: batches of the whole run.
        done: batches behind us already, when a run is resumed.
        enabled: False prints nothing (every process but the first).
    """

    def __init__(self, total: int, done: int = 0, enabled: bool = True, stream: TextIO | None = None) -> None:
        self.total, self.done, self.enabled = total, done, enabled
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self._started, self._began_at = time.monotonic(), done
        self._paused = 0.0
        self._shown = 0.0
        self._width = 0

    def advance(self, text: str) -> None:
        """Count one batch; show `text` with the time left if it is time to."""
        self.done += 1
        now = time.monotonic()
        if now - self._shown >= (TERMINAL_SECONDS if self.terminal else LOG_SECONDS):
            self._shown = now
            self._write(f"{text}  {self.time_left(now)} left")

    def time_left(self, now: float) -> str:
        """Return the time left, at the pace since the start and without pauses."""
        pace = (now - self._started - self._paused) / max(1, self.done - self._began_at)
        return duration_text(pace * max(0, self.total - self.done))

    def pause(self, seconds: float) -> None:
        """Leave out time that went into something other than training."""
        self._paused += seconds

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self.enabled:
            self.clear()
            print(text, file=self.stream, flush=True)

    def clear(self) -> None:
        """Take the moving line off the terminal."""
        if self.enabled and self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self.stream.flush()
            self._width = 0

    def _write(self, line: str) -> None:
        if not self.enabled:
            return
        if self.terminal:
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

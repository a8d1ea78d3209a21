"""Being asked to stop: Ctrl-C, SIGTERM, a closed terminal, or a cluster that wants its machine back."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from act3d.errors import Act3dError
from act3d.lines import typed

# SIGUSR1 is what SLURM sends before a job's time is up (#SBATCH --signal=USR1@120).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Interrupted(Act3dError):
    """Training was asked to stop, and did so with everything saved.

    Attributes:
        where: what was reached and saved.
        code: exit code of the process: 128 plus the number of the signal.
    """

    def __init__(self, where: str, command: str, number: int) -> None:
        super().__init__(f"{where}; go on with: {typed(command)}")
        self.where, self.number, self.code = where, number, 128 + number

    def by(self, command: str) -> "Interrupted":
        """Return the same of a command that the run was a step of: it is what goes on with all steps."""
        return Interrupted(self.where, command, self.number)


class Signals:
    """While open, signals ask for a clean stop: `number` says which came; a second Ctrl-C stops at once.

    Args:
        enabled: False leaves signals as they are.
        say: prints a line for the user.
    """

    def __init__(self, enabled: bool = True, say: Callable[[str], None] = print) -> None:
        # Only the main thread may take signals.
        self.enabled = enabled and threading.current_thread() is threading.main_thread()
        self.say, self.number = say, 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if self.enabled:
            # What is ignored stays ignored: nohup does so with SIGHUP.
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._handlers = {number: old for number, old in handlers.items() if old is not signal.SIG_IGN}
            for number in self._handlers:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        if number == signal.SIGINT:
            self.say("Stopping after this step; press Ctrl-C again to stop at once, without saving.")

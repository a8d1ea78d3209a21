"""Commands in forked children, which may be killed at any moment: what they import is shared, so each costs little."""

import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

LONGEST = 300.0  # seconds after which a command counts as hanging


class Ended(NamedTuple):
    """How a command ended: its exit code (minus the signal that killed it), and all that it printed."""

    code: int
    said: str


class Child:
    """A command under way.

    Args:
        words: as on the command line, without "act3d".
        environment: variables to set.
        prepare: called in the child before the command, such as for limits.
    """

    def __init__(
        self,
        words: list[str],
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        self.words, self.began = words, time.monotonic()
        handle, self.log = tempfile.mkstemp(prefix="act3d-fault-")
        sys.stdout.flush()
        sys.stderr.flush()
        self.process = os.fork()
        if not self.process:
            _become(words, handle, environment or {}, prepare)
        os.close(handle)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if there is still somebody to take it."""
        os.kill(self.process, number)

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        if not hasattr(self, "_code"):
            process, status = os.waitpid(self.process, os.WNOHANG)
            if not process:
                return None
            self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, seconds: float = LONGEST) -> Ended:
        """Wait for its end; a command that takes too long is killed, which shows in the code."""
        until = time.monotonic() + seconds
        while self.code is None:
            if time.monotonic() > until:
                self.kill()
            time.sleep(0.01)
        said = Path(self.log).read_text(encoding="utf-8", errors="replace")
        os.unlink(self.log)
        return Ended(self._code, said)


def _become(words: list[str], handle: int, environment: Mapping[str, str], prepare: Callable[[], object]) -> NoReturn:
    from act3d.cli import main

    code = 99
    try:
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        # pytest puts files of its own in place of both: what the command prints must reach the log all the same.
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.environ.update(environment)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        prepare()
        code = main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 98
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(words: list[str], **options: object) -> Ended:
    """Run a command to its end."""
    return Child(words, **options).wait()  # type: ignore[arg-type]


def must(words: list[str]) -> str:
    """Run a command that has to succeed; return what it printed."""
    ended = run(words)
    if ended.code:
        raise RuntimeError(f"act3d {' '.join(words)} ended with {ended.code}: {ended.said[-2000:]}")
    return ended.said


def seconds_of(words: list[str]) -> float:
    """Run a command that has to succeed; return how long that took."""
    began = time.monotonic()
    must(words)
    return time.monotonic() - began


def killed_at(words: list[str], moment: float) -> bool:
    """Start a command and kill it after so many seconds; tell whether it was still running."""
    until = time.monotonic() + moment
    return killed_when(words, lambda: time.monotonic() >= until)


def killed_when(words: list[str], ready: Callable[[], bool]) -> bool:
    """Start a command and kill it when something holds; tell whether it was still running then."""
    child = Child(words)
    while child.code is None and not ready():
        time.sleep(0.001)
    alive = child.code is None
    if alive:
        child.kill()
    ended = child.wait()
    if not alive and ended.code:
        raise RuntimeError(f"act3d {' '.join(words)} ended with {ended.code}: {ended.said[-2000:]}")
    return alive


def small_files(limit: int) -> Callable[[], None]:
    """Return what makes the system refuse files larger than `limit` bytes, as a quota does."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return prepare


def moments(seed: int, longest: float, times: int) -> list[float]:
    """Random moments in which to strike, the first half spread evenly so that no phase is left out."""
    draw = random.Random(seed)
    even = [(i + draw.random()) / (times - times // 2) * longest for i in range(times - times // 2)]
    return even + [draw.uniform(0, longest) for _ in range(times // 2)]


def warm_up() -> None:
    """Import what commands need, once, before children are forked."""
    import torch

    import act3d.commands.autoencode
    import act3d.commands.embed
    import act3d.commands.finetune
    import act3d.commands.index
    import act3d.commands.prepare
    import act3d.commands.pretrain
    import act3d.commands.probe
    import act3d.commands.teach
    import act3d.engine.loop
    import act3d.evaluation.retrieval
    import act3d.prepare.pack
    import act3d.recipes.act
    import act3d.recipes.autoencoder
    import act3d.recipes.classifier
    import act3d.report.dataset
    import act3d.use.load
    import act3d.use.shape_predictors  # noqa: F401

    torch.set_num_threads(1)

"""The command line: cyclopts over the models in `act3d.settings`. A command's code is imported when it runs."""

import difflib
import os
import sys
from collections.abc import Sequence

from act3d.cli.table import COMMANDS
from act3d.errors import Act3dError, ConfigError, InputError
from act3d.lines import accept_any_character, say


def set_waiting() -> None:
    """Let waiting threads of OpenMP spin for some microseconds, then sleep; this must be set before torch is imported.

    Long spinning makes a shared machine many times slower. Sleeping at once makes steps of many small operations twice
    as slow: a thread takes longer to wake up than most of them take.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")  # GNU's OpenMP, which torch brings on Linux


def _keep_freed_memory() -> None:
    """Let glibc keep the memory that tensors free: returning it takes a fifth of a step's time on the CPU."""
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; musl has none
    if mallopt is not None:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: no mapping of its own for every large tensor
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 (failure), 2 (wrong usage), 128 + signal (interrupted)."""
    set_waiting()
    _keep_freed_memory()
    accept_any_character()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words)
    except KeyboardInterrupt:
        say("act3d: interrupted", error=True)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        if debug:
            raise
        return _report(error)


def _report(error: Exception) -> int:
    """Print an error as one line and return the exit code it stands for."""
    code = getattr(error, "code", None)
    if isinstance(code, int) and code > 128:  # stopped on request, with everything saved
        if int(os.environ.get("LOCAL_RANK", 0)):
            return 0  # a helper process; the first one prints
        say(f"act3d: {error}", error=True)
        return code
    text = " ".join(str(error).split())
    if isinstance(error, Act3dError):
        say(f"act3d: error: {text}", error=True)
        return 2 if isinstance(error, ConfigError | InputError) else 1
    say(f"act3d: error: {type(error).__name__}: {text[:500]} (--debug shows where)", error=True)
    return 1


def _run(words: list[str]) -> int:
    """Run the command that the words name."""
    from cyclopts import CycloptsError

    from act3d.cli.app import build_app

    name = words[0] if words else "--help"
    if name == "help":
        words = ["--help"]
    elif not name.startswith("-") and name not in (*COMMANDS, "__complete"):
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"commands: {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command {name!r}; {hint}")
    completing = name in ("--install-completion", "__complete")
    if name in COMMANDS:
        from act3d.cli.words import join_switches

        words = join_switches(words)
    try:
        build_app(COMMANDS if completing else [name])(words or ["--help"])
    except CycloptsError as error:
        from act3d.cli.words import wrong_words

        raise ConfigError(wrong_words(error, words)) from None
    return 0 if words else 2


if __name__ == "__main__":
    sys.exit(main())

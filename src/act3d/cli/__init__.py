"""The command line: cyclopts over the models in `act3d.settings`. A command's code is imported when it runs."""

import difflib
import errno
import sys
from collections.abc import Sequence
from typing import NoReturn

from act3d.cli.table import COMMANDS
from act3d.engine import processes
from act3d.errors import Act3dError, ConfigError, InputError
from act3d.lines import accept_any_character, say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 (failure), 2 (wrong usage), 128 + signal (interrupted)."""
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


def run() -> NoReturn:
    """Run the command line and end this process: what `act3d` and `python -m act3d` call."""
    code = main()
    if processes.formed():
        processes.end(code)
    sys.exit(code)


def _report(error: Exception) -> int:
    """Print an error as one line and return the exit code it stands for."""
    code = getattr(error, "code", None)
    if isinstance(code, int) and code > 128:  # stopped on request, with everything saved
        if processes.rank():
            return 0  # a helper process: the first one prints, and its code counts
        say(f"act3d: {error}", error=True)
        return code
    text = " ".join(str(error).split())
    if isinstance(error, Act3dError):
        say(f"act3d: error: {text}", error=True)
        return 2 if isinstance(error, ConfigError | InputError) else 1
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        say("act3d: error: no space left: standard output", error=True)  # files are named by act3d.files
        return 1
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

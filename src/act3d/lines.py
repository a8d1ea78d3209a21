"""The lines that act3d prints: each passes through here, so that no name in it steers a terminal or forges a line.

A command line that is printed is one that can be typed: `typed`.
"""

import contextlib
import io
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from act3d.files import printable


def say(line: object = "", error: bool = False) -> None:
    """Print one line, on the error stream if `error`, with every character that is not for reading as an escape."""
    if error:
        sys.stdout.flush()  # in a log that takes both streams, lines stand in the order in which they were printed
    print(printable(line), file=sys.stderr if error else sys.stdout, flush=error)


def say_json(value: Any) -> None:
    """Print a value as indented JSON; whatever is not ASCII becomes an escape, which says the same to a program."""
    print(json.dumps(value, indent=2))


def typed(line: str) -> str:
    """Return a command line (`act3d ...`, `pip ...`) as it can be typed here.

    In an environment that is not activated, the name alone would start nothing, or the script of another environment:
    there the place of the script stands before it.
    """
    name, space, rest = line.partition(" ")
    script = Path(sys.prefix, "bin", name)
    found = shutil.which(name)
    if sys.prefix == sys.base_prefix or not script.is_file() or (found and Path(found).resolve() == script.resolve()):
        return line
    place = script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
    return f"{shlex.quote(os.fspath(place))}{space}{rest}"


def accept_any_character() -> None:
    """Let the standard streams write characters that their encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation, ValueError):
                stream.reconfigure(errors="backslashreplace")

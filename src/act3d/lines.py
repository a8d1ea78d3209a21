"""The lines that act3d prints: each passes through here, so that no name in it steers a terminal or forges a line."""

import contextlib
import io
import json
import sys
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


def accept_any_character() -> None:
    """Let the standard streams write characters that their encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation, ValueError):
                stream.reconfigure(errors="backslashreplace")

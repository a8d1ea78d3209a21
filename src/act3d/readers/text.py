"""Text in files: encodings, numbers."""

import codecs
from collections.abc import Sequence

import numpy as np

from act3d.errors import InputError

# The longer marks first: that of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> str:
    """Return text without its byte order mark. UTF-16 and UTF-32 are known by theirs, UTF-16 also by its zero bytes.

    Bytes that are no UTF-8 become U+FFFD: names and comments may be in any old encoding, numbers are not.
    """
    encoding, start = _encoding(data)
    return data[start:].decode(encoding, errors="replace")


def as_utf8(data: bytes) -> bytes:
    """Return the data of a file with a text header without a byte order mark; UTF-16 and UTF-32 become UTF-8."""
    encoding, start = _encoding(data)
    return data[start:] if encoding == "utf-8" else decode(data).encode("utf-8", errors="replace")


def _encoding(data: bytes) -> tuple[str, int]:
    """The encoding, and the length of the byte order mark."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding, len(mark)
    even, odd = data[:64:2], data[1:64:2]
    if len(odd) > 1 and not any(odd) and all(even):
        return "utf-16-le", 0
    if len(odd) > 1 and not any(even) and all(odd):
        return "utf-16-be", 0
    return "utf-8", 0


def numbers(words: Sequence[str] | Sequence[Sequence[str]], what: str) -> np.ndarray:
    """Return words as float64.

    Raises:
        InputError: One of them is no number; `what` is the subject of the sentence.
    """
    try:
        return np.array(words, dtype=np.float64)
    except ValueError:
        raise InputError(f"{what} are not all numbers") from None


def whole_numbers(words: Sequence[str], what: str) -> np.ndarray:
    """Return words as int64; see `numbers`."""
    try:
        return np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{what} are not all whole numbers") from None

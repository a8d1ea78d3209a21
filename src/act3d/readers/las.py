"""LAS and LAZ through laspy, an optional dependency."""

import struct
from pathlib import Path
from typing import Any

from act3d.errors import InputError, MissingDependency
from act3d.installing import how_to_install
from act3d.readers.limits import read_regular

LAS_SUFFIXES = (".las", ".laz")


def open_las(path: Path) -> Any:
    """Return laspy's view of a file: `xyz`, dimensions by name.

    Raises:
        MissingDependency: laspy is not installed.
        InputError: Damaged, cut off, or with counts that the file cannot hold.
    """
    try:
        import laspy
    except ImportError:
        raise MissingDependency(f"{path}: las and laz need laspy: {how_to_install('las')}") from None
    _check_counts(read_regular(path))
    try:
        return laspy.read(path)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # its decompressors panic with errors that are no Exception
        text = (str(error).splitlines() or [""])[0][:100]
        raise InputError(f"is no readable las or laz ({type(error).__name__}: {text})") from None


def _check_counts(data: bytes) -> None:
    """Refuse a header that promises more points or records than the file has bytes for."""
    if not data.startswith(b"LASF") or len(data) < 227:
        raise InputError("is no las or laz: it has no LAS header")
    minor, header, offset, records = data[25], *struct.unpack_from("<HII", data, 94)
    layout, length, points = struct.unpack_from("<BHI", data, 104)
    if minor >= 4 and len(data) >= 375:
        points = max(points, struct.unpack_from("<Q", data, 247)[0])
        first, extended = struct.unpack_from("<QI", data, 235)
        if extended * 60 > len(data) - min(first, len(data)):
            raise InputError(f"is damaged: {extended} records were promised at byte {first} of {len(data)}")
    packed = layout & 0x80
    if header > offset or offset > len(data) or records * 54 > len(data) - header or length == 0:
        raise InputError("is damaged: its header does not fit the file")
    if not packed and points * length > len(data) - offset:
        raise InputError(f"ends early: {points} points of {length} bytes were promised")

"""PCD, the point clouds of PCL."""

from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import check_unpacked, read_regular
from act3d.readers.shape import Shape
from act3d.readers.text import as_utf8


def decompress_lzf(data: bytes, size: int) -> bytes:
    """Undo the LZF compression of "binary_compressed" PCD files."""
    check_unpacked(size, len(data), "its compressed data")
    out = bytearray()
    at = 0
    try:
        while at < len(data) and len(out) <= size:
            control = data[at]
            at += 1
            if control < 32:  # the next control + 1 bytes as they are
                out += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            back = ((control & 31) << 8) + data[at] + 1
            at += 1
            length += 2
            if back > len(out):
                raise InputError("its compressed data are damaged")
            # A copy may overlap what it appends: then the last `back` bytes repeat.
            source = bytes(out[len(out) - back : len(out) - back + length])
            out += (source * (length // len(source) + 1))[:length]
    except IndexError:
        raise InputError("its compressed data end early") from None
    if len(out) != size:
        raise InputError("its compressed data are damaged")
    return bytes(out)


def _header(data: bytes) -> tuple[dict[str, list[str]], int]:
    header: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in header:
        end = data.find(b"\n", at)
        if end < 0 or at > 4096:
            raise InputError("has no PCD header")
        words = data[at:end].decode("ascii", errors="replace").split()
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
        at = end + 1
    if not {"FIELDS", "SIZE", "TYPE"} <= header.keys():
        raise InputError("has a damaged PCD header")
    return header, at


def read_pcd(path: Path) -> Shape:
    """A PCD file (ascii, binary, binary_compressed). Points that are not finite are missing returns: left out."""
    data = as_utf8(read_regular(path))
    header, at = _header(data)
    try:
        points = _points(header, data[at:])
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise InputError(str(error) if isinstance(error, InputError) else f"is damaged or cut off ({error})") from None
    return Shape(points[np.isfinite(points).all(axis=1)])


def _points(header: dict[str, list[str]], body: bytes) -> np.ndarray:
    """The points (n, 3) float64, missing returns among them."""
    names = header["FIELDS"]
    repeats = [int(word) for word in header.get("COUNT", ["1"] * len(names))]
    if any(kind.upper() not in ("F", "U", "I") for kind in header["TYPE"]) or min(repeats, default=0) < 1:
        raise InputError("has a damaged PCD header")
    kinds = [np.dtype(f"<{kind.lower()}{size}") for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)]
    sizes = [kind.itemsize * n for kind, n in zip(kinds, repeats, strict=True)]
    total = header.get("POINTS")
    count = int(total[0]) if total else int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
    if count < 0:
        raise InputError(f"promises {count} points")
    place = [names.index(axis) for axis in "xyz"]
    mode = header["DATA"][0].lower()
    if mode == "ascii":
        first = np.cumsum([0, *repeats])
        rows = [line.split() for line in body.decode("ascii", errors="replace").splitlines() if line.strip()]
        if len(rows) < count:
            raise InputError(f"ends early: {count} points were promised")
        return np.array([[row[first[i]] for i in place] for row in rows[:count]], dtype=np.float64).reshape(-1, 3)
    if mode == "binary":
        if count * sum(sizes) > len(body):
            raise InputError(f"ends early: {count} points were promised")
        layout = np.dtype([(f"{i}", kind, (n,)) for i, (kind, n) in enumerate(zip(kinds, repeats, strict=True))])
        table = np.frombuffer(body, layout, count)
        return np.stack([table[f"{i}"][:, 0] for i in place], axis=1).astype(np.float64)
    if mode != "binary_compressed":
        raise InputError(f"has PCD data {mode[:40]!r}")
    packed, size = (int(number) for number in np.frombuffer(body, "<u4", 2))
    if size != count * sum(sizes):
        raise InputError(f"promises {count} points, and {size} bytes for them")
    raw = decompress_lzf(body[8 : 8 + packed], size)
    # Compressed files store one field after the other.
    starts = np.cumsum([0, *sizes]) * count
    columns = []
    for i in place:
        column = np.frombuffer(raw, kinds[i], count * repeats[i], int(starts[i]))
        columns.append(column.reshape(count, repeats[i])[:, 0])
    return np.stack(columns, axis=1).astype(np.float64)

"""Readers for point clouds: npy, npz, xyz, pts, pcd."""

from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.shape import Shape

_KEYS = ("points", "xyz", "pos", "coords", "vertices", "pc")


def _as_cloud(array: np.ndarray) -> Shape:
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise InputError(
            f"holds an array of shape {array.shape} and type {array.dtype}; expected (N, 3 or more) numbers"
        )
    return Shape(array[:, :3].astype(np.float64))


def read_npy(path: Path) -> Shape:
    """An array (N, 3 or more); the first three columns are x, y, z."""
    try:
        return _as_cloud(np.load(path, allow_pickle=False))
    except (OSError, EOFError, ValueError) as error:
        raise InputError(str(error) if isinstance(error, InputError) else f"is no readable .npy ({error})") from None


def read_npz(path: Path) -> Shape:
    """Arrays by name: `points` (or xyz, pos, coords, vertices, pc), with `faces` (F, 3) a mesh; else the only array."""
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as archive:
            key = next((key for key in _KEYS if key in archive), None)
            if key is None and len(archive.files) == 1:
                key = archive.files[0]
            if key is None:
                raise InputError(f"has none of the arrays {', '.join(_KEYS)}, but {', '.join(archive.files)[:100]}")
            shape = _as_cloud(archive[key])
            if "faces" in archive:
                faces = archive["faces"]
                if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
                    raise InputError(f"has faces of shape {faces.shape}; expected (F, 3) whole numbers")
                shape.faces = faces.astype(np.int64)
            return shape
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(str(error) if isinstance(error, InputError) else f"is no readable .npz ({error})") from None


def read_text(path: Path) -> Shape:
    """xyz and pts: one point a line, columns separated by blanks, commas or semicolons.

    A first line with a single number (pts), lines that start with # or //, and one line of column names are skipped.
    """
    text = path.read_bytes().decode("utf-8", errors="replace").replace(",", " ").replace(";", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "//"))]
    if lines and (len(lines[0].split()) == 1 or lines[0].split()[0][0].isalpha()):
        lines = lines[1:]
    if not lines:
        raise InputError("holds no points")
    try:
        return _as_cloud(np.array([line.split()[:3] for line in lines], dtype=np.float64))
    except ValueError as error:
        raise InputError(
            str(error) if isinstance(error, InputError) else "its lines are not three or more numbers each"
        ) from None


def decompress_lzf(data: bytes, size: int) -> bytes:
    """Undo the LZF compression of "binary_compressed" PCD files."""
    out = bytearray()
    at = 0
    while at < len(data):
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
        start = len(out) - ((control & 31) << 8) - data[at] - 1
        at += 1
        if start < 0:
            raise InputError("its compressed data are damaged")
        for place in range(start, start + length + 2):  # may overlap what it appends
            out.append(out[place])
    if len(out) != size:
        raise InputError("its compressed data are damaged")
    return bytes(out)


def _pcd_header(data: bytes) -> tuple[dict[str, list[str]], int]:
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
    data = path.read_bytes()
    header, at = _pcd_header(data)
    try:
        names = header["FIELDS"]
        repeats = [int(word) for word in header.get("COUNT", ["1"] * len(names))]
        kinds = [f"<{kind.lower()}{size}" for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)]
        fields = [(f"{i}", kind, (n,)) for i, (kind, n) in enumerate(zip(kinds, repeats, strict=True))]
        layout = np.dtype(fields)
        total = header.get("POINTS")
        count = int(total[0]) if total else int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
        place = [names.index(axis) for axis in "xyz"]
        mode = header["DATA"][0].lower()
        if mode == "ascii":
            first = np.cumsum([0, *repeats])
            rows = [line.split() for line in data[at:].decode("ascii", errors="replace").splitlines() if line.strip()]
            if len(rows) < count:
                raise InputError(f"ends early: {count} points were promised")
            points = np.array([[row[first[i]] for i in place] for row in rows[:count]], dtype=np.float64)
        elif mode == "binary":
            table = np.frombuffer(data, layout, count, at)
            points = np.stack([table[f"{i}"][:, 0] for i in place], axis=1).astype(np.float64)
        elif mode == "binary_compressed":
            packed, size = (int(number) for number in np.frombuffer(data, "<u4", 2, at))
            raw = decompress_lzf(data[at + 8 : at + 8 + packed], size)
            # Compressed files store one field after the other.
            sizes = [np.dtype(kind).itemsize * n * count for kind, n in zip(kinds, repeats, strict=True)]
            starts = np.cumsum([0, *sizes])
            points = np.stack([np.frombuffer(raw, kinds[i], count, int(starts[i])) for i in place], axis=1)
        else:
            raise InputError(f"has PCD data {mode!r}")
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise InputError(str(error) if isinstance(error, InputError) else f"is damaged or cut off ({error})") from None
    points = points.reshape(-1, 3).astype(np.float64)
    return Shape(points[np.isfinite(points).all(axis=1)])

"""Arrays of NumPy: npy and npz."""

import io
import math
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import check_unpacked, read_regular
from act3d.readers.shape import Shape

_KEYS = ("points", "xyz", "pos", "coords", "vertices", "pc")
_MOST_COLUMNS = 16  # of a cloud of one or two points: more is no cloud


def as_cloud(array: np.ndarray) -> Shape:
    """A cloud from an array (N, 3 or more); its first three columns are x, y, z.

    Raises:
        InputError: Another shape, or one that looks transposed, (3, N).
    """
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise InputError(
            f"holds an array of shape {array.shape} and type {array.dtype}; expected (N, 3 or more) numbers"
        )
    check_upright(array)
    columns = array.shape[1]
    note = f"{columns} columns without names: the first three are taken for x, y and z" if columns > 3 else ""
    return Shape(array[:, :3].astype(np.float64), note=note)


def check_upright(array: np.ndarray) -> None:
    """Refuse an array (N, columns) that looks transposed."""
    rows, columns = array.shape
    if columns > rows and (rows >= 3 or columns > _MOST_COLUMNS):
        raise InputError(f"holds an array of shape {array.shape}; expected (N, 3 or more): is it transposed?")


def parse_npy(data: bytes) -> np.ndarray:
    """The array of a .npy file, without pickles, once the file is known to hold as much as its header promises.

    Raises:
        InputError: Damaged, cut off, or an array of Python objects.
    """
    file: BinaryIO = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise InputError(f"has version {version} of .npy, which is not read")
        shape, fortran, dtype = read_header[version](file)
    except InputError:
        raise
    except Exception as error:  # the header is a Python expression: its parser fails in every way there is
        text = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise InputError(f"is no readable .npy ({text})") from None
    if dtype.hasobject:
        raise InputError("holds Python objects, not numbers")
    if not dtype.itemsize:  # such as "S0", text without letters: any number of them fits into a file
        raise InputError(f"holds values of type {dtype}, not numbers")
    count = math.prod(int(size) for size in shape)
    if any(size < 0 for size in shape) or count * dtype.itemsize > len(data) - file.tell():
        raise InputError(f"ends early: an array of shape {shape} was promised")
    flat = np.frombuffer(data, dtype, count, file.tell()) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def read_npy(path: Path) -> Shape:
    """An array (N, 3 or more); see `as_cloud`."""
    return as_cloud(parse_npy(read_regular(path)))


def read_npz(path: Path) -> Shape:
    """Arrays by name: `points` (or xyz, pos, coords, vertices, pc), with `faces` (F, 3) a mesh; else the only array."""
    data = read_regular(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            key = next((key for key in _KEYS if key in members), None)
            if key is None and len(members) == 1:
                key = next(iter(members))
            if key is None:
                raise InputError(f"has none of the arrays {', '.join(_KEYS)}, but {', '.join(members)[:100]!r}")
            shape = as_cloud(_member(archive, members[key]))
            _beside(
                shape, {key: _member(archive, members[key]) for key in ("rgb", "normals", "parts") if key in members}
            )
            if "faces" in members:
                faces = _member(archive, members["faces"])
                if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
                    raise InputError(f"has faces of shape {faces.shape}; expected (F, 3) whole numbers")
                shape.faces = faces.astype(np.int64)
            return shape
    except InputError:
        raise
    except Exception as error:  # zipfile and its decompressors raise errors of many kinds on damaged archives
        raise InputError(f"is no readable .npz ({type(error).__name__}: {str(error)[:100]})") from None


def _beside(shape: Shape, arrays: dict[str, np.ndarray]) -> None:
    """Put what a .npz holds of its points beside them: `rgb` (0..255, or fractions up to 1), `normals`, `parts`."""
    for key, array in arrays.items():
        expected = (len(shape.vertices),) if key == "parts" else (len(shape.vertices), 3)
        if array.shape != expected or array.dtype.kind not in ("iu" if key == "parts" else "fiu"):
            raise InputError(f"has {key} of shape {array.shape} and type {array.dtype}; expected {expected}")
    if "rgb" in arrays:
        colors = arrays["rgb"].astype(np.float64)
        shape.point_colors = np.clip(colors / (1 if arrays["rgb"].dtype.kind == "f" else 255), 0, 1)
    if "normals" in arrays:
        normals = arrays["normals"].astype(np.float64)
        shape.point_normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    if "parts" in arrays:
        shape.point_parts = arrays["parts"].astype(np.int64)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    check_unpacked(info.file_size, info.compress_size, f"its array {info.filename[:40]!r}")
    return parse_npy(archive.read(info))

"""Reading untrusted pickles: NumPy arrays, numbers, texts and plain containers, and nothing that could run."""

import os
import pickle
import pickletools
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from act3d.errors import InputError, reason_of


def load(path: str | Path) -> Any:
    """Read a pickle that holds arrays and plain containers only.

    Raises:
        InputError: no such file, cut off, damaged, or it asks for anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            _check_claims(file, size)
            file.seek(0)
            return _Finish(size)(_ArrayUnpickler(file, encoding="latin1").load())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except _RefusedError as error:
        raise InputError(
            f"{path}: refused, the pickle asks for {error}; only arrays of numbers and plain containers may be in it"
        ) from None
    except _TooLargeError as error:
        raise InputError(f"{path}: refused, the pickle claims {error}, more than its {error.size} bytes hold") from None
    except MemoryError:
        raise InputError(f"{path} does not fit into memory") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f"{path} is damaged or cut off ({reason_of(error)})") from None


class _RefusedError(Exception):
    """The pickle names something that is not on the list."""


class _TooLargeError(Exception):
    """The pickle claims to hold more than its file does."""

    def __init__(self, claim: str, size: int) -> None:
        super().__init__(claim)
        self.size = size


class _Bounded:
    """A file that never tries to read more than it has: a length in a pickle may claim anything."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int = -1) -> bytes:
        return self.file.read(min(count, self.size) if count >= 0 else self.size)

    def readline(self) -> bytes:
        return self.file.readline()

    def tell(self) -> int:
        return self.file.tell()


def _check_claims(file: BinaryIO, size: int) -> None:
    """Refuse frames beyond the file, and memo numbers beyond the instructions so far: memory is taken for either."""
    for number, (instruction, argument, _) in enumerate(pickletools.genops(_Bounded(file, size))):  # type: ignore[arg-type]
        if instruction.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > number + 1:
            raise _TooLargeError(f"{argument} remembered objects", size)
        if instruction.name == "FRAME" and isinstance(argument, int) and argument > size:
            raise ValueError("a frame is longer than the file")


# NumPy's own types are never built from the file's instructions: their state could claim, say, that plain bytes are
# object pointers. These stand-ins record the state and check it; real arrays are made from it at the end.


class _Dtype:
    """A dtype of numbers, booleans or texts."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str):
            raise _RefusedError(f"a dtype made from {type(code).__name__}")
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufcSU":
            raise _RefusedError(f"an array of {self.dtype.name} items")

    def __setstate__(self, state: Any) -> None:
        order, subdtype, names, fields = state[1:5]
        if order not in ("<", ">", "=", "|") or any(item is not None for item in (subdtype, names, fields)):
            raise _RefusedError("a structured dtype")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array that waits for its content."""

    def __init__(self, *_: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, content = state[-4:]
        self.value = _numbers(dtype, content).reshape(shape, order="F" if fortran else "C")


class _Value:
    """An array or number that is complete."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Name:
    """Stands for `numpy.ndarray`, which pickles only mention."""

    def __init__(self, *_: Any) -> None:
        raise _RefusedError("a call of numpy.ndarray")


def _numbers(dtype: Any, content: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise _RefusedError("an array without a plain dtype")
    if isinstance(content, str):  # written by Python 2
        content = content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise _RefusedError("an array of objects")
    return np.frombuffer(bytes(content), dtype=dtype.dtype).copy()


def _scalar(dtype: Any, content: Any = b"") -> _Value:
    return _Value(_numbers(dtype, content)[0])


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Value:
    return _Value(_numbers(dtype, content).reshape(shape, order=order))


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise _RefusedError(f"encoding {encoding!r}")
    return text.encode("latin1")


_CORES = ("numpy.core", "numpy._core")  # before and since NumPy 2
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Name,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(f"{core}.multiarray", "_reconstruct"): _Array for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _frombuffer for core in _CORES},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("an object outside the file")


class _Finish:
    """Containers with arrays in place of stand-ins.

    A container that occurs several times is gone through once, but counts each time: nested references can
    expand to more than any memory holds.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.done: dict[int, tuple[Any, int]] = {}  # by the identity of what was read: what becomes of it, its bytes

    def __call__(self, item: Any) -> Any:
        value, count = self._walk(item)
        if count > 4 * self.size + 2**16:
            raise _TooLargeError(f"{count} bytes", self.size)
        return value

    def _walk(self, item: Any) -> tuple[Any, int]:
        if isinstance(item, _Array | _Value):
            return item.value, int(getattr(item.value, "nbytes", 0))
        if isinstance(item, type | _Dtype):
            raise _RefusedError("a type")
        if not isinstance(item, list | tuple | set | dict):
            return item, 1
        if id(item) not in self.done:
            if isinstance(item, dict):
                pairs = [(self._walk(key), self._walk(value)) for key, value in item.items()]
                count = sum(key[1] + value[1] for key, value in pairs)
                self.done[id(item)] = {key[0]: value[0] for key, value in pairs}, count
            else:
                parts = [self._walk(part) for part in item]
                self.done[id(item)] = type(item)(part[0] for part in parts), 1 + sum(part[1] for part in parts)
        return self.done[id(item)]

"""Writing files whole or not at all, reading those written row by row; names of outputs; names safe to print."""

import csv
import ctypes
import errno
import hashlib
import json
import os
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from act3d.errors import Act3dError, CheckpointError, ConfigError, InputError, OutOfSpace, reason_of


def folders_of(text: str) -> list[str]:
    """Return the folders and URLs that a text names: several are joined by commas, unless it is itself a folder's name.

    A text file (.txt) names one a line; lines that begin with # are left out, and folders are found from its own.
    """
    if text.endswith(".txt") and Path(text).is_file():
        lines = [line.strip() for line in Path(text).read_text(encoding="utf-8-sig").splitlines()]
        named = [line for line in lines if line and not line.startswith("#")]
        return [line if line == "sample" or is_remote(line) else str(Path(text).parent / line) for line in named]
    if "," not in text or Path(text).is_dir():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


FULL = 1 << 16  # free bytes below which a disk counts as full


def cache_folder() -> Path:
    """Return the folder for what can be made again: ACT3D_CACHE, by default act3d in the user's cache folder."""
    named = os.environ.get("ACT3D_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "act3d"
    return base.absolute()


def plain_path(path: str | Path) -> Path:
    """Return a path from the root without "..": a folder has one name however it is typed. Links keep their names."""
    whole = Path(path).absolute()
    plain = Path(os.path.normpath(whole))
    same = whole.exists() and plain.exists() and plain.samefile(whole)  # ".." behind a link leads elsewhere
    return plain if same else whole


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file on this disk in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, remove it if not."""
    path = Path(path)
    with space_for(path):
        make_folder(path.parent, path)
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        except OSError as error:
            raise _unwritable(error, path) from error
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            # mkstemp, and libraries that write a new file in its place, make it private; a file that the user asked for
            # follows the user's umask instead.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            if path.is_dir():
                raise InputError(f"{path} is a folder; a file has to be written there")
            temporary.replace(path)
        except Exception as error:
            if _is_full(error, path.parent):  # while the part that was written still fills the disk
                raise OutOfSpace(f"no space left: {path}") from error
            raise
        finally:
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path, wanted: Path | None = None) -> None:
    """Make a folder and those above it, for a file `wanted` in it or for itself.

    Raises:
        InputError: it cannot be made; names what was wanted, and the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(error, wanted or folder) from error


def _unwritable(error: OSError, path: Path) -> Exception:
    """What to raise where `path` cannot be begun: a full disk stays one."""
    return error if _is_full(error, path.parent) else InputError(f"{path} cannot be written ({error.strerror})")


@contextmanager
def space_for(path: Path) -> Iterator[None]:
    """Name the file when the disk is full.

    Raises:
        OutOfSpace: instead of what the system, torch or safetensors raise then.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Act3dError):
            raise
        if _is_full(error, path.parent):
            raise OutOfSpace(f"no space left: {path}") from error
        if _is_limited(error):
            raise OutOfSpace(f"larger than a file may be here (ulimit -f): {path}") from error
        raise


def _is_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left" in str(error):  # safetensors
        return True
    # torch says "unexpected pos", NumPy "9 requested and 4 written"; only the disk tells what that means.
    vague = isinstance(error, RuntimeError) or (isinstance(error, OSError) and error.errno is None)
    return vague and folder.is_dir() and shutil.disk_usage(folder).free < FULL


def _is_limited(error: Exception) -> bool:
    """Whether a limit on the size of files has stopped the writing of one, in what the system, torch and NumPy say."""
    too_large = isinstance(error, OSError) and error.errno == errno.EFBIG
    return too_large or any(words in str(error) for words in ("File too large", "unexpected pos", "requested and"))


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is not there, cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged or cannot be read ({reason_of(error)})") from None


_WEIGHTS = ("best.safetensors", "last.safetensors")


def weights_file(path: str | Path) -> Path:
    """Return the weights file that a path means: itself, or a run folder's best (else last) native checkpoint.

    Raises:
        CheckpointError: Nothing there, or the state of a run instead of weights.
    """
    path = Path(path)
    if path.suffix == ".ckpt" and path.parent.name == "checkpoints":
        folder = path.parent.parent
        raise CheckpointError(f"{path}: the state of a run, to go on with it; give its run folder, {folder}")
    if not path.is_dir():
        if not path.exists():
            raise CheckpointError(f"{path}: no such file or run folder")
        return path
    for folder in (path / "checkpoints", path):
        for name in _WEIGHTS:
            if (folder / name).is_file():
                return folder / name
    raise CheckpointError(f"{path}: holds no finished weights (looked for checkpoints/{' and '.join(_WEIGHTS)})")


INDEX_TABLE = "shapes"  # the table of an index in LanceDB
HANDMADE_INDEX = "index.faiss"  # in the folder of an index that an earlier version wrote


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Tell whether a place is a URL (s3://bucket/folder, memory://), and no folder."""
    return "://" in os.fspath(place)


def has_index(place: str | os.PathLike[str]) -> bool:
    """Tell whether there may be an index: one of LanceDB's, or one of an earlier version of act3d."""
    if is_remote(place):
        return True
    folder = Path(place)
    # A disk that was full from the start leaves empty folders.
    written = any(path.is_file() for path in (folder / f"{INDEX_TABLE}.lance").rglob("*"))
    return written or (folder / HANDMADE_INDEX).is_file()


def write_text(path: str | Path, text: str) -> None:
    r"""Write `text` as UTF-8, whole or not at all; bytes of names that are no UTF-8 become `\udcXX`, as in JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def move_into_place(new: Path, out: Path) -> None:
    """Rename the folder `new` to `out` and remove what `out` was, so that at no moment there is neither.

    Where the file system cannot exchange two folders at once, a kill between two renames leaves the old one under the
    name `.NAME.replaced`; see `recover_folder`.
    """
    old = _replaced(out)
    recover_folder(out)
    if not out.exists():
        new.rename(out)
        return
    if _exchange(new, out):
        shutil.rmtree(new, ignore_errors=True)
        return
    out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def one_writer(out: Path) -> Iterator[None]:
    """Keep other commands from writing the folder `out` meanwhile, by a lock beside it.

    Raises:
        ConfigError: another command writes there.
    """
    import filelock

    path = out.absolute().with_name(f".{out.name}.lock")
    make_folder(path.parent, out)
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(f"out: another act3d command writes {out}; wait for it, or choose another --out") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def recover_folder(out: Path) -> None:
    """Give a folder its name back if `move_into_place` was killed between its renames, and remove what it left."""
    old = _replaced(out)
    if old.exists() and not out.exists():
        old.rename(out)
    elif old.exists():
        shutil.rmtree(old, ignore_errors=True)


def _replaced(out: Path) -> Path:
    return out.with_name(f".{out.name}.replaced")


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders exchange their names in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


def output_names(
    inputs: Sequence[str | os.PathLike[str]], folder: str | Path, suffix: str, flat: bool = False
) -> list[Path]:
    """Return one path in `folder` for every input, no two alike, also where case does not count.

    `day1/scan.xyz` and `day2/scan.xyz` keep their folders; `plain.obj` and `plain.stl` keep their suffix too
    (`plain.obj.ply`); what is still alike gets a number. No path leaves `folder`, whatever an input is called.

    Args:
        inputs: Names of files; relative ones keep their folders, absolute ones those below their common folder.
        folder: Where the outputs will lie.
        suffix: Of the outputs, with its dot.
        flat: Join folders and name by "_" instead of making folders.
    """
    paths = [PurePath(item) for item in inputs]
    absolute = [path.parent for path in paths if path.is_absolute()]
    base = Path(os.path.commonpath(absolute)) if absolute else Path()
    wanted: list[tuple[str, ...]] = []
    for path in paths:
        parts = (path.relative_to(base) if path.is_absolute() else path).parts
        parts = tuple(part for part in parts if part not in ("..", path.anchor)) or ("unnamed",)
        wanted.append(("_".join(parts),) if flat else parts)
    short = [_ending(parts, PurePath(parts[-1]).stem) for parts in wanted]
    often = Counter(_key(parts, suffix) for parts in short)
    chosen = [part if often[_key(part, suffix)] == 1 else whole for part, whole in zip(short, wanted, strict=True)]
    # A file cannot stand where another output needs a folder.
    taken = {_key(parts[:depth], "") for parts in chosen for depth in range(1, len(parts))}
    results = []
    for parts in chosen:
        unique, number = parts, 2
        while _key(unique, suffix) in taken:
            unique, number = _ending(parts, f"{parts[-1]}-{number}"), number + 1
        taken.add(_key(unique, suffix))
        results.append(Path(folder, *unique[:-1], unique[-1] + suffix))
    return results


def _ending(parts: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (*parts[:-1], name)


def _key(parts: tuple[str, ...], suffix: str) -> str:
    """What two paths share when a file system that ignores case takes them for one."""
    return unicodedata.normalize("NFC", "/".join(parts) + suffix).casefold()


def unique_names(names: Iterable[object]) -> list[str]:
    """Return printable names, no two alike: of those that look the same all but the first get a number, `name~2`."""
    taken: dict[str, None] = {}
    for name in map(printable, names):
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}~{number}", number + 1
        taken[unique] = None
    return list(taken)


def names_of(originals: Iterable[str]) -> dict[str, str]:
    """Return a printable name for every different original; two originals never share one."""
    different = sorted(set(originals))
    return dict(zip(different, unique_names(different), strict=True))


def printable(name: object) -> str:
    r"""Return a name as one line that is safe to print and to write as UTF-8.

    Names of files may hold anything: line breaks that forge a line, control characters that steer a terminal, marks
    that turn the direction of writing, bytes that are no UTF-8. Each of these becomes an escape such as `\n` or `\xff`.
    Brackets stay: a table of rich must take the name as `Text`, or through `rich.markup.escape`.
    """
    text = str(name)
    return text if text.isprintable() else "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # spaces of other widths do no harm
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python keeps it in a file's name
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Return the rows of a metrics.csv, without a last one that was cut short by a kill."""
    with path.open(newline="", encoding="utf-8") as file:
        text = file.read()
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(whole.splitlines()))

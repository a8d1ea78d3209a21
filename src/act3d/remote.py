"""Files at URLs (s3://, hf://, gs://, https://, file:// ...), through fsspec, and their copies on this machine's disk.

The copies lie in one folder for all datasets and all processes: `shards` in the folder that `ACT3D_CACHE` names, else
in `act3d` in the user's cache folder. Each is called by its SHA-256, so it is checked before it is used, and a file of
two datasets is there once. They take `ACT3D_CACHE_GB` at most (20 unless set): those not used for longest go first.
"""

import math
import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from act3d.errors import Act3dError, ConfigError, InputError, MissingDependency, reason_of
from act3d.files import atomic_path, cache_folder, is_remote, sha256
from act3d.installing import how_to_install

PAUSES = (1.0, 3.0)  # seconds before a file is asked for again
EXTRAS = {"s3": "s3", "s3a": "s3", "hf": "hub"}
_NAME, _BEGUN = re.compile("[0-9a-f]{64}"), re.compile(r"\.[0-9a-f]{64}\..*\.tmp")
STALE = 3600.0  # seconds after which a file that was begun belongs to a process that was killed
GIGABYTE = 10**9


class _Missing(InputError):
    """There is no such file."""


def join(root: str | Path, name: str) -> str:
    """Return the place of a file of a folder or URL, to read it and to name it."""
    return f"{str(root).rstrip('/')}/{name}" if is_remote(root) else str(Path(root) / name)


def check_url(url: str) -> None:
    """Check that files at a URL could be asked for, without asking for any.

    Raises:
        InputError: a kind of URL that fsspec does not know.
        MissingDependency: the package for it is not installed.
    """
    import fsspec

    kind = url.partition("://")[0]
    if "::" in url or kind not in fsspec.available_protocols():
        raise InputError(f"{url}: no known kind of URL; known are s3://, hf://, gs://, https://, file:// and more")
    try:
        fsspec.get_filesystem_class(kind)
    except ImportError as error:
        how = how_to_install(EXTRAS[kind]) if kind in EXTRAS else reason_of(error)
        raise MissingDependency(f"{url} needs a package that is not installed: {how}") from None


def read_bytes(url: str) -> bytes | None:
    """Return the content of a file at a URL; None if there is none.

    Raises:
        InputError: it cannot be read, or nobody can say whether it is there.
    """
    try:
        content: bytes = _asked(url, lambda system, path: system.cat_file(path))
    except _Missing:
        return None
    return content


def _asked(url: str, ask: Callable[[Any, str], Any]) -> Any:
    """Return what `ask(file system, path)` gives; what may be a passing trouble of the network is tried three times.

    The file system is looked up anew every time: fsspec keeps one for each process and thread, as forks need it.
    """
    check_url(url)
    import fsspec

    for pause in (*PAUSES, None):
        try:
            return ask(*fsspec.core.url_to_fs(url))
        except Act3dError:
            raise
        except FileNotFoundError:
            raise _Missing(f"{url} is missing") from None
        except Exception as error:  # every file system has errors of its own
            if pause is None or isinstance(error, PermissionError):
                raise InputError(f"{url} cannot be read ({reason_of(error)})") from None
            time.sleep(pause)
    raise AssertionError


def _download(system: Any, path: str, to: Path) -> None:
    system.get_file(path, str(to))


def shards_folder() -> Path:
    """Return the folder of the copies."""
    return cache_folder() / "shards"


def cache_limit() -> int:
    """Return how many bytes the copies may take.

    Raises:
        ConfigError: ACT3D_CACHE_GB is no number above 0.
    """
    text = os.environ.get("ACT3D_CACHE_GB", "20")
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = 0.0
    if not (math.isfinite(gigabytes) and gigabytes > 0):
        raise ConfigError(f"ACT3D_CACHE_GB is {text!r}; it must be a number above 0")
    return int(gigabytes * GIGABYTE)


_checked: set[str] = set()  # checksums of copies that this process has compared


def local_copy(url: str, expected: str) -> Path:
    """Return the copy of a file, which is fetched if there is none, and marked as used now.

    Args:
        url: where it is.
        expected: its SHA-256.

    Raises:
        InputError: it is missing, cannot be read, or is not the file that was written.
        OutOfSpace: the disk is full.
    """
    import filelock

    path = shards_folder() / expected
    if _usable(path, expected):
        return path
    # One of 256 locks, which stay: a lock that is removed may be held by two.
    lock = path.with_name("locks") / f"{expected[:2]}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(lock):
        if not _usable(path, expected):
            _fetch(url, path, expected)
    return path


def _usable(path: Path, expected: str) -> bool:
    """Mark a copy as used; False if there is none. One that was damaged on this disk is removed."""
    try:
        os.utime(path)
        if expected not in _checked and sha256(path) != expected:
            path.unlink()
            return False
    except FileNotFoundError:
        return False
    _checked.add(expected)
    return True


def _fetch(url: str, path: Path, expected: str) -> None:
    for last in (False, True):  # what was cut off on its way may come whole the second time
        with atomic_path(path) as temporary:
            _asked(url, partial(_download, to=temporary))
            if sha256(temporary) == expected:
                break
            if last:
                raise InputError(f"{url} was changed after it was written (its checksum differs); upload it again")
    _checked.add(expected)
    _make_room(path)


def _make_room(newest: Path) -> None:
    """Remove the copies that were not used for longest until all take no more than they may."""
    import filelock

    limit, now = cache_limit(), time.time()
    with filelock.FileLock(newest.with_name("locks") / "room.lock"):
        found = []
        for entry in os.scandir(newest.parent):
            try:
                about = entry.stat()
            except FileNotFoundError:
                continue
            if _BEGUN.fullmatch(entry.name):
                if now - about.st_mtime > STALE:
                    Path(entry.path).unlink(missing_ok=True)
            elif _NAME.fullmatch(entry.name):  # whatever else lies there is not ours to remove
                found.append((about.st_mtime_ns, about.st_size, entry.path))
        taken = sum(size for _, size, _ in found)
        for _, size, name in sorted(found):
            if taken <= limit:
                return
            if name != str(newest):
                Path(name).unlink(missing_ok=True)
                taken -= size

"""The description and the table of a packed dataset, and their checksums.

Without torch, so that processes that prepare data start fast. The description holds the checksum of every other file
and, as `digest`, one of itself. Opening checks the description and the table, which hold the names of clouds and their
places; a shard is checked when its first cloud is read (0.6 ms a megabyte, once a process); `act3d check-data` reads
everything. Datasets of earlier versions have a fingerprint only.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from act3d.channels import WIDTHS
from act3d.errors import InputError, reason_of
from act3d.files import is_remote, read_json, sha256
from act3d.remote import join, read_bytes

FORMAT = "act3d-packed"
VERSION = 1
DESCRIPTION = "dataset.json"
TABLE = "clouds.csv"
_WANTED: dict[str, type | tuple[type, ...]] = {
    "name": str, "classes": list, "parts": list, "points": int, "dtype": str, "shards": list, "splits": dict,
    "fingerprint": str, "up": str, "normalization": str,
}  # fmt: skip


def kinds_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """The arrays that every shard of a dataset has."""
    return ("points", *(kind for kind in ("parts", "channels") if info.get(kind)))


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or reason_of(error)})") from None


def check_file(path: Path, expected: str | None) -> None:
    """Check a file against the SHA-256 that its description has; None where it has none.

    Raises:
        InputError: it cannot be read, or was changed after it was written.
    """
    if expected is not None and checksum(path) != expected:
        raise InputError(f"{path} was changed after it was written (its checksum differs); prepare the dataset again")


def fingerprint_of(classes: Any, parts: Any, checksums: Sequence[str], table: bytes) -> str:
    """Return the fingerprint of a packed dataset.

    Args:
        classes, parts: their names.
        checksums: of all shards, in order; those of a shard's points before those of its parts.
        table: content of the table.
    """
    digest = hashlib.sha256(json.dumps([classes, parts]).encode())
    for item in checksums:
        digest.update(item.encode())
    digest.update(table)
    return digest.hexdigest()[:16]


def sealed(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with its own checksum in it, as `digest`."""
    return {**info, "digest": _digest(info)}


def _digest(info: Mapping[str, Any]) -> str:
    content = {key: value for key, value in info.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_seal(path: Path | str, info: Mapping[str, Any]) -> None:
    """Check a description against its own checksum, if it has one.

    Raises:
        InputError: it was changed after it was written.
    """
    if "digest" in info and info["digest"] != _digest(info):
        raise InputError(f"{path} was changed after it was written (its checksum differs); prepare the dataset again")


def read_description(root: Path | str) -> dict[str, Any]:
    """The checked content of `dataset.json` in a folder, or at a URL."""
    path = join(root, DESCRIPTION)
    if is_remote(root):
        info = _fetched(str(root), path)
    elif Path(path).is_file():
        info = read_json(path)
    else:
        raise InputError(f"{root} is not a packed dataset: it has no {DESCRIPTION}")
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a packed dataset (format {FORMAT!r} expected)")
    if info.get("version") != VERSION:
        raise InputError(f"{path} has version {info.get('version')!r}; this act3d reads version {VERSION}")
    missing = [key for key in _WANTED if key not in info]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}")
    check_seal(path, info)
    wrong = [key for key, kind in _WANTED.items() if not isinstance(info[key], kind)]
    if wrong:
        raise InputError(f"{path} is damaged: {wrong[0]!r} is {type(info[wrong[0]]).__name__}")
    _check_details(path, info)
    return info


def _fetched(root: str, url: str) -> Any:
    content = read_bytes(url)
    if content is None:
        raise InputError(
            f"{root} is not a packed dataset: it has no {DESCRIPTION}; datasets in released layouts are read from "
            "folders only"
        )
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{url} is damaged ({reason_of(error)})") from None


def _check_details(path: str, info: Mapping[str, Any]) -> None:
    """Refuse names that are no text, and shards that are no files of the folder."""
    for key in ("classes", "parts"):
        if not all(isinstance(name, str) for name in info[key]) or len(set(info[key])) != len(info[key]):
            raise InputError(f"{path} is damaged: {key!r} is not a list of different names")
    channels = info.get("channels", [])
    if not isinstance(channels, list) or not set(channels) <= set(WIDTHS):
        raise InputError(f"{path} is damaged: 'channels' is {str(channels)[:60]}; known: {', '.join(WIDTHS)}")
    kinds = kinds_of(info)
    for shard in info["shards"]:
        names = [shard.get(kind) for kind in kinds] if isinstance(shard, dict) else [None]
        if not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise InputError(f"{path} is damaged: a shard names no file of this folder")
        if not isinstance(shard.get("count"), int) or shard["count"] < 1:
            raise InputError(f"{path} is damaged: a shard has {shard.get('count')!r} clouds")
    if not info["shards"] or info["points"] < 1 or info["dtype"] not in ("float16", "float32"):
        raise InputError(
            f"{path} is damaged: {info['points']} points of {info['dtype']!r} in {len(info['shards'])} shards"
        )


def read_table(path: Path, expected: str | None = None) -> dict[str, list[str]]:
    """The columns of a CSV table with a header line.

    Args:
        path: The file.
        expected: Its SHA-256, if that is known.

    Raises:
        InputError: Missing, damaged, or not the file whose checksum was given.
    """
    try:
        content = path.read_bytes()
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise InputError(
                f"{path} was changed after it was written (its checksum differs); prepare the dataset again"
            )
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except InputError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None
    if any(len(row) != len(header) for row in rows):
        raise InputError(f"{path} is damaged: not every row has {len(header)} columns")
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return {name: list(column) for name, column in zip(header, columns, strict=True)}

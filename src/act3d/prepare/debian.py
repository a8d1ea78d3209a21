"""Unpacking a Debian package without Debian's tools: an `ar` archive that holds a compressed `tar`."""

import tarfile
from pathlib import Path
from typing import BinaryIO

from act3d.errors import InputError


class _Window:
    """A read-only file over a part of another file."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.left = file, size

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data


def unpack(package: Path, suffixes: tuple[str, ...], folder: Path) -> int:
    """Extract the files of a .deb whose names end in one of `suffixes` into `folder`; returns their number."""
    with package.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise InputError(f"{package} is not a Debian package")
        while len(header := file.read(60)) == 60:
            name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                if not name.endswith((".xz", ".gz", ".bz2", ".tar")):
                    raise InputError(f"{package}: {name} cannot be unpacked here; run: dpkg-deb -x {package} FOLDER")
                return _extract(_Window(file, size), suffixes, folder, package)
            file.seek(size + size % 2, 1)
    raise InputError(f"{package} is cut off: it has no data")


def _extract(window: _Window, suffixes: tuple[str, ...], folder: Path, package: Path) -> int:
    count = 0
    try:
        with tarfile.open(fileobj=window, mode="r|*") as archive:  # type: ignore[call-overload]
            for member in archive:
                if member.isfile() and member.name.endswith(suffixes):
                    archive.extract(member, folder, filter="data")
                    count += 1
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{package} is damaged or cut off ({error})") from None
    return count

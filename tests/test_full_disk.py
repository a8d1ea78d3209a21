"""A full disk ends in one line that names the file; files follow the user's umask."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from act3d import checkpoints
from act3d.engine.log import MetricsLog
from act3d.errors import InputError, OutOfSpace
from act3d.files import atomic_path, write_text
from act3d.models.point_mae import PointMAE

Usage = type(shutil.disk_usage("/"))
FULL: list[tuple[Exception, int]] = [
    (OSError(errno.ENOSPC, "No space left on device"), 10**9),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), 10**9),
    (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), 10**9),
    # What torch 2.13 says on a full tmpfs.
    (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), 0),
    (OSError("73728 requested and 4032 written"), 0),  # NumPy
]


@pytest.mark.parametrize(("error", "free"), FULL)
def test_it_names_the_file(error: Exception, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "last.ckpt"
    write_text(target, "old")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - free, free))
    with pytest.raises(OutOfSpace, match=f"^no space left: {target}$"), atomic_path(target):
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["last.ckpt"]


LIMITED = [
    OSError("73728 requested and 4032 written"),
    OSError(errno.EFBIG, "File too large"),
    SafetensorError("Error while serializing: I/O error: File too large (os error 27)"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
]


@pytest.mark.parametrize("error", LIMITED)
def test_a_limit_on_files_names_the_file(error: Exception, tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    with pytest.raises(OutOfSpace, match=f"^larger than a file may be here .*: {target}$"), atomic_path(target):
        raise error
    assert os.listdir(tmp_path) == []


def test_other_errors_stay_themselves(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shape"), atomic_path(tmp_path / "x"):
        raise RuntimeError("shape")


def test_a_log_names_itself(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, ["loss"])
    log._file.close()
    log._file = open("/dev/full", "w")  # noqa: SIM115
    log._csv.writer = __import__("csv").writer(log._file)
    with pytest.raises(OutOfSpace, match=r"no space left: .*metrics.csv"):
        log.write(1, 0, {"loss": 1.0})


def save_weights(path: Path) -> Any:
    return checkpoints.save(PointMAE(8, 8, 8, 1, 1, decoder_depth=1, decoder_heads=1), path)


@pytest.mark.parametrize("write", [save_weights, lambda path: write_text(path, "x"), lambda path: keep(path)])
@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_files_follow_the_umask(write: Callable[[Path], Any], mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def keep(path: Path) -> None:
    with atomic_path(path) as temporary:
        torch.save({}, temporary)


@pytest.mark.parametrize("place", ["a-file/x.csv", "a-file/more/x.csv", "/proc/x.csv", "a-folder", "n" * 300])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    (tmp_path / "a-folder").mkdir()
    with pytest.raises(InputError) as raised:
        write_text(tmp_path / place, "text")
    assert str(tmp_path / place) in str(raised.value)
    assert "Errno" not in str(raised.value)
    assert sorted(os.listdir(tmp_path)) == ["a-file", "a-folder"]

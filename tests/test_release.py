"""What would be published: the sdist builds the wheel, and the wheel works away from the source."""

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import act3d

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(1200)


def python(*words: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    pytest.importorskip("hatchling", reason="building needs hatchling: pip install hatchling")
    out = tmp_path_factory.mktemp("release")
    python("-m", "hatchling", "build", "-t", "sdist", "-d", str(out), cwd=ROOT)
    (archive,) = out.glob("act3d-*.tar.gz")
    assert archive.stat().st_size < 25_000_000  # 9 of them are act3d-small, 7 the samples
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    return out / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(sdist.parent), cwd=sdist)
    (made,) = sdist.parent.glob("act3d-*.whl")
    return made


def test_the_sdist_holds_source_tests_and_documents(sdist: Path) -> None:
    for name in ("src/act3d/__init__.py", "tests/test_docs.py", "docs/start.md", "examples/0_look.py", "Makefile"):
        assert (sdist / name).is_file(), name
    assert not list(sdist.rglob("__pycache__"))


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = email.message_from_bytes(archive.read(metadata))
    assert said["Name"] == "act3d"
    assert said["Version"] == act3d.__version__
    assert said["License-Expression"] == "MIT"
    assert "Programming Language :: Python :: 3.11" in said.get_all("Classifier", [])
    assert {name.split("/")[0] for name in names} == {"act3d", metadata.split("/")[0]}
    assert "act3d/py.typed" in names
    # Every file of the package in the repository is in the wheel.
    files = [path for path in (ROOT / "src/act3d").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT / "src").as_posix() for path in files} <= set(names)


def test_the_wheel_works_away_from_the_source(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    place = {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)}
    where = python("-c", "import act3d; print(act3d.__file__)", cwd=tmp_path, **place)
    assert Path(where.strip()).is_relative_to(tmp_path)
    assert "train: 448 clouds" in python("-m", "act3d", "check-data", "sample", cwd=tmp_path, **place)
    assert "small/pretrain" in python("-m", "act3d", "pretrain", "--help", cwd=tmp_path, **place)

"""What make does before there is any environment, with stand-ins for Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def stand_in(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "echo", "touch", "grep", "sed", "column", "cat", "mkdir", "chmod"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "/bin/true")
    return tmp_path


def make(clone, *words):
    environment = {"PATH": str(clone / "bin"), "HOME": str(clone)}
    make = shutil.which("make") or "make"
    return subprocess.run([make, *words], cwd=clone, env=environment, capture_output=True, text=True, check=False)


# Stands for a good Python: can make an environment, whose python notes what pip is asked for.
GOOD = """
case "$1" in
  -c) exit 0;;
  -m) mkdir -p "$3/bin"; printf '#!/bin/sh\\necho "$@" >> log\\n' > "$3/bin/python"; chmod 755 "$3/bin/python";;
esac
"""


def test_without_a_new_enough_python_it_says_so(clone):
    stand_in(clone / "bin", "python3", "exit 1")
    done = make(clone, ".venv/.installed")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (clone / ".venv").exists()


def test_it_passes_over_a_python_that_is_too_old(clone):
    stand_in(clone / "bin", "python3.11", "exit 1")
    stand_in(clone / "bin", "python3.12", GOOD)
    done = make(clone, ".venv/.installed")
    assert done.returncode == 0, done.stderr
    assert "with python3.12" in done.stdout


def test_the_environment_is_made_once_and_updated_when_its_inputs_change(clone):
    stand_in(clone / "bin", "python3.11", GOOD)
    log = clone / "log"
    assert make(clone, ".venv/.installed").returncode == 0
    first = log.read_text()
    assert "-c constraints.txt" in first
    assert "-e .[minilm]" in first
    assert make(clone, ".venv/.installed").returncode == 0
    assert log.read_text() == first
    os.utime(clone / "constraints.txt", (4e9, 4e9))
    assert make(clone, ".venv/.installed").returncode == 0
    assert log.read_text() == 2 * first


def test_the_developers_environment_serves_users_too(clone):
    stand_in(clone / "bin", "python3.11", GOOD)
    assert make(clone, ".venv/.installed-dev").returncode == 0
    asked = (clone / "log").read_text()
    assert "-e .[dev]" in asked
    assert make(clone, ".venv/.installed").returncode == 0
    assert (clone / "log").read_text() == asked


def test_constraints_pin_what_pyproject_asks_for():
    import re
    import tomllib

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+( ?; ?sys_platform == .linux.)?", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    assert "torch==2.13.0" in lines
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + extras["dev"] + extras["minilm"] + extras["search"] + extras["hf"]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ]", item)[0]).lower() for item in asked} - {"act3d"}
    assert names <= pinned

"""Lines that act3d prints: nothing in a name can forge one or steer a terminal."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import act3d
from act3d.lines import say, say_json, typed
from act3d.progress import Progress

SOURCES = sorted(Path(act3d.__file__).parent.rglob("*.py"))
HOSTILE = "a\nnext: rm\x1b[31m\u202e\udcff[b]"
SHOWN = r"a\nnext: rm\x1b[31m\u202e\xff[b]"


def test_every_line_goes_through_one_door() -> None:
    doors = {"lines.py", "progress.py"}
    for path in SOURCES:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert path.name in doors or not prints, f"{path}:{prints}: use act3d.lines.say"


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{HOSTILE}: read")
    say(HOSTILE, error=True)
    Progress().say(HOSTILE)
    assert capsys.readouterr() == (f"{SHOWN}: read\n", f"{SHOWN}\n{SHOWN}\n")


def test_json_is_safe_and_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({HOSTILE: "\x9b"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {HOSTILE: "\x9b"}


def test_a_stream_without_the_characters_stops_no_command(tmp_path: Path) -> None:
    out = tmp_path / "r\u00e9sum\u00e9\x1b[31m"
    words = [sys.executable, "-m", "act3d", "check-data", str(out)]
    done = subprocess.run(words, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_a_full_standard_output_is_named(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "act3d", "doctor", "--json"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "act3d: error: no space left: standard output\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_is_named_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("my env/bin", "other/bin", "home"):
        (tmp_path / place).mkdir(parents=True)
    for place in ("my env", "other"):
        (tmp_path / place / "bin/act3d").write_text("#!/bin/sh\n")
        (tmp_path / place / "bin/act3d").chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "my env"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.chdir(tmp_path)
    for path in ("home", "other/bin"):  # not activated; another one is
        monkeypatch.setenv("PATH", str(tmp_path / path))
        assert typed("act3d teach 'a b'") == "'my env/bin/act3d' teach 'a b'"
    assert typed("unknown x") == "unknown x"
    monkeypatch.chdir(tmp_path / "home")
    assert typed("act3d") == f"'{tmp_path}/my env/bin/act3d'"
    (tmp_path / "home/act3d").symlink_to(tmp_path / "my env/bin/act3d")  # as pipx and uv do
    for path in ("home", "my env/bin"):
        monkeypatch.setenv("PATH", str(tmp_path / path))
        assert typed("act3d teach shapes") == "act3d teach shapes"
    monkeypatch.setenv("PATH", str(tmp_path / "other/bin"))
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)  # no environment
    assert typed("act3d teach shapes") == "act3d teach shapes"

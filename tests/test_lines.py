"""Lines that act3d prints: nothing in a name can forge one or steer a terminal."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import act3d
from act3d.lines import say, say_json
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

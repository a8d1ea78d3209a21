"""`--engine ray` of prepare and embed: what one machine gives, byte for byte, also after the command was killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from act3d.cli import main
from act3d.readers import on_ray
from tests.data.helpers import CUBE_VERTICES, write_obj

# Kills the command, as somebody else would, when it has written its second part; before it says whom Ray started.
KILLED = """
import os, signal, sys
from pathlib import Path
import act3d.data.packing as packing, act3d.use.embed_shapes as embedding

def deadly(write, calls=[]):
    def written(*given):
        write(*given)
        calls.append(1)
        if len(calls) == 2:
            children = [Path(task, "children").read_text() for task in Path("/proc/self/task").iterdir()]
            print(" ".join(children), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    return written

packing.PackedWriter.write_shard = deadly(packing.PackedWriter.write_shard)
embedding.Parts.write, embedding.ROWS_A_PART = deadly(embedding.Parts.write), 4
from act3d.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def ray_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray with two workers; commands run in this process join it."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'act3d[ray]'")
    with on_ray.cluster(2, tmp_path_factory.mktemp("seen")):
        yield


def boxes(folder: Path, count: int) -> Path:
    for i in range(count):
        write_obj(folder / "abc"[i % 3] / f"{i}.obj", CUBE_VERTICES * [1, 1 + i / 100, 1])
    (folder / "a" / "bad.obj").write_text("v 0 0\nf 1 2 3\n")
    return folder


def killed(words: list[str]) -> None:
    """Run a command that kills itself, and see that Ray ends with it."""
    path = os.pathsep.join(entry or "." for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    left = {Path("/proc", pid, "stat") for pid in done.stdout.split()}
    until = time.monotonic() + 60
    while any(map(alive, left)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, left))


def alive(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def inferred(said: str) -> list[str]:
    """The lines on what was inferred, and what could not be read."""
    return [line for line in said.splitlines() if line.startswith("act3d:")]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_prepare_gives_the_same_bytes_and_goes_on_after_a_kill(tmp_path: Path, capsys: Any) -> None:
    source = boxes(tmp_path / "in", 400)
    words = ["prepare", str(source), "--points", "32", "--workers", "2", "--out"]
    assert main([*words, str(tmp_path / "local")]) == 0
    assert main([*words, str(tmp_path / "ray"), "--engine", "ray"]) == 0
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    assert b"bad.obj" in content(tmp_path / "ray")["failures.csv"]
    killed([*words, str(tmp_path / "again"), "--engine", "ray"])
    assert not (tmp_path / "again").exists()
    capsys.readouterr()
    assert main([*words, str(tmp_path / "again"), "--engine", "ray"]) == 0
    assert "continued after 256 models" in capsys.readouterr().out
    assert content(tmp_path / "again") == content(tmp_path / "local")


def test_parts_and_pieces_are_named_by_the_same_engine(tmp_path: Path) -> None:
    source = boxes(tmp_path / "in", 6)
    lines = (source / "a" / "0.obj").read_text().splitlines(keepends=True)
    faces = [line for line in lines if line.startswith("f")]
    vertices = [line for line in lines if not line.startswith("f")]
    half = len(faces) // 2
    (source / "a" / "0.obj").write_text("".join([*vertices, "g lid\n", *faces[:half], "g foot\n", *faces[half:]]))
    words = ["prepare", str(source), "--points", "32", "--workers", "2", "--parts", "groups", "--assembly", "each"]
    for engine in ("local", "ray"):
        assert main([*words, "--engine", engine, "--out", str(tmp_path / engine)]) == 0
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    assert b"a/0.obj/lid" in content(tmp_path / "ray")["clouds.csv"]


@pytest.mark.parametrize("prepared", [False, True])
def test_embed_gives_the_same_bytes_and_goes_on_after_a_kill(
    prepared: bool, student_file: Path, tmp_path: Path, capsys: Any
) -> None:
    source = boxes(tmp_path / "in", 20)
    if prepared:
        assert main(["prepare", str(source), "--points", "64", "--out", str(tmp_path / "data")]) == 0
        source = tmp_path / "data"
    words = ["embed", str(source), "--checkpoint", str(student_file), "--data.batch_size", "4", "--out"]
    assert main([*words, str(tmp_path / "local.npz")]) == 0
    said = capsys.readouterr()
    ray = ["--engine", "ray", "--data.workers", "2"]
    assert main([*words, str(tmp_path / "ray.npz"), *ray]) == 0
    assert inferred(capsys.readouterr().err) == inferred(said.err)
    assert (tmp_path / "ray.npz").read_bytes() == (tmp_path / "local.npz").read_bytes()
    killed([*words, str(tmp_path / "again.npz"), *ray])
    assert not (tmp_path / "again.npz").exists()
    assert main([*words, str(tmp_path / "again.npz"), *ray]) == 0
    assert "20 shapes" in (out := capsys.readouterr().out)
    assert f"; {12 if prepared else 9} new" in out  # of files, the first batch has one that is not readable
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "local.npz").read_bytes()


def test_the_encoder_that_comes_with_act3d_is_found_by_its_name(tmp_path: Path) -> None:
    words = ["embed", str(boxes(tmp_path / "in", 3)), "--engine", "ray", "--data.workers", "1"]
    assert main([*words, "--out", str(tmp_path / "a.npz")]) == 0
    assert (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prepare", "{here}", "--format", "scenes", "--classes", "c.txt"], "engine: 'ray' prepares shapes"),
        (["embed", "sample", "--checkpoint", "{model}", "--backend", "onnx"], "backend: 'onnx' with engine ray"),
        (["embed", "sample", "--checkpoint", "{model}", "--device", "cuda"], "no machine of the Ray cluster has a GPU"),
    ],
)
def test_what_ray_cannot_do_is_one_line(
    words: list[str], says: str, student_file: Path, tmp_path: Path, capsys: Any
) -> None:
    given = [word.format(here=tmp_path, model=student_file) for word in words]
    assert main([*given, "--engine", "ray", "--out", str(tmp_path / "out.npz")]) in (1, 2)
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said

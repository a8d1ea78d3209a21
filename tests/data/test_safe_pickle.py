"""Pickles are read, and never run."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act3d.data import safe_pickle
from act3d.errors import InputError
from tests.fixtures.released_layouts import hostile_pickle, truncate


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_arrays_and_containers(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    content = {
        "train": [(rng.random((5, 6)).astype(np.float32), np.int64(3), "chair"), (np.asfortranarray(np.eye(3)), 1, 2)],
        "rest": [np.array([7], dtype=np.int32), np.float64(0.5), None, True, b"x", np.array([1], dtype=">i2")],
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    found = safe_pickle.load(tmp_path / "a.pkl")
    points, label, name = found["train"][0]
    assert points.dtype == np.float32
    assert np.array_equal(points, content["train"][0][0])
    assert (label, name) == (3, "chair")
    assert np.array_equal(found["train"][1][0], np.eye(3))
    assert [int(found["rest"][0][0]), float(found["rest"][1]), *found["rest"][2:5]] == [7, 0.5, None, True, b"x"]
    assert found["rest"][5][0] == 1


class Reduced:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> Any:
        return self.parts


@pytest.mark.parametrize(
    "item",
    [
        Reduced(eval, "1 + 1"),
        Reduced(np.load, "x.npy"),
        Reduced(np.ndarray, (10, 10)),
        Reduced(np.dtype, "O"),
        np.array([{}, 1], dtype=object),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.ndarray,
        Path("x"),
    ],
)
def test_refuses_everything_else(tmp_path: Path, item: Any) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([item]))
    with pytest.raises(InputError, match=r"a.pkl: refused, the pickle asks for"):
        safe_pickle.load(tmp_path / "a.pkl")


def test_a_hostile_file_does_not_run(tmp_path: Path) -> None:
    path = hostile_pickle(tmp_path / "h.pkl", tmp_path / "ran")
    with pytest.raises(InputError, match="refused"):
        safe_pickle.load(path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(path.read_bytes())  # the proof that it would have
    assert (tmp_path / "ran").exists()


def test_damage_ends_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    whole = pickle.dumps([[np.zeros((50, 6), np.float32)], [np.array([1])]])
    for content in (b"", b"no pickle", whole[:-1], pickle.dumps([1])[:-1] + b"\xff."):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a.pkl is damaged or cut off") as caught:
            safe_pickle.load(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    truncate(path)
    with pytest.raises(InputError, match="cut off"):
        safe_pickle.load(path)
    with pytest.raises(InputError, match="does not exist"):
        safe_pickle.load(tmp_path / "none.pkl")


def test_lying_array_state(tmp_path: Path) -> None:
    """Bytes that claim another shape, and a list that holds itself."""
    lie = pickle.dumps(np.zeros(4, np.float32), 2).replace(b"K\x04", b"K\x09")
    (tmp_path / "lie.pkl").write_bytes(lie)
    loop: list[Any] = []
    loop.append(loop)
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps(loop))
    for name in ("lie", "loop"):
        with pytest.raises(InputError, match="damaged"):
            safe_pickle.load(tmp_path / f"{name}.pkl")


def references(levels: int, each: int = 10) -> list[Any]:
    """Lists of references to lists: a few bytes that stand for `each` ** `levels` items."""
    item: list[Any] = [np.zeros(1000)]
    for _ in range(levels):
        item = [item] * each
    return item


BOMBS = {
    "memo in text": b"(lp400000000\n.",
    "memo in bytes": b"\x80\x02]r\xff\xff\xff\x7f.",
    "references": pickle.dumps(references(30)),
    "one array many times": pickle.dumps([np.zeros((500, 6), np.float32)] * 5000),
    "a long text": b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00ab.",
    "a long frame": b"\x80\x04\x95\x00\x00\x00\x00\x00\x01\x00\x00]\x94.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_claims_beyond_the_file_cost_no_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(BOMBS[name])
    # In a process of its own, with a limit: what fails here would take the machine's memory.
    code = (
        "import resource, sys; from act3d.data import safe_pickle; from act3d.errors import InputError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))\n"
        "try: safe_pickle.load(sys.argv[1])\n"
        "except InputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "bomb.pkl" in done.stdout
    assert "does not fit into memory" not in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_arrays_that_occur_twice_are_read(tmp_path: Path) -> None:
    cloud = np.arange(6, dtype=np.float32)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([cloud, cloud, (1, 2), (1, 2)]))
    found = safe_pickle.load(tmp_path / "a.pkl")
    assert np.array_equal(found[0], found[1])
    assert found[2] == found[3] == (1, 2)

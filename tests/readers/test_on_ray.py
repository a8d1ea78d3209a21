"""Files read by the processes of Ray on this machine: the same results, whatever is killed."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from act3d.errors import InputError, MissingDependency
from act3d.readers import on_ray
from act3d.readers.engine import local, opened
from act3d.readers.guarded import Limits, Lost
from act3d.readers.on_ray import Cluster
from tests.readers.misbehaving import read

LIMITS = Limits(60.0, 1 << 30)


def limited(task: str) -> Limits:
    return Limits(0.5, 1 << 30) if task == "hang" else LIMITS


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Ray with two workers; started once, as that takes seconds."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'act3d[ray]'")
    with on_ray.cluster(2, tmp_path_factory.mktemp("seen")) as cluster:
        yield cluster


def test_the_same_results_in_the_same_order(two_workers: Cluster) -> None:
    tasks = ["a", "exit", "b", "segfault", "c", "hang", "print", "memory", "panic", "error", *"defghijklmnopqrst"]
    expected = list(local(2).read(read, tasks, limited))
    assert list(on_ray.read_all(two_workers, read, tasks, limited)) == expected
    assert [task for task, found in zip(tasks, expected, strict=True) if isinstance(found, Lost)] == [
        "exit", "segfault", "hang", "memory", "panic", "error",
    ]  # fmt: skip


def test_a_file_that_kills_its_worker_is_one_failure(two_workers: Cluster) -> None:
    tasks = [*"abc", "parent", *"defghijkl"]
    found = list(on_ray.read_all(two_workers, read, tasks, limited))
    assert isinstance(found[3], Lost)
    assert found[3].reason == "took its Ray worker down 3 times (WorkerCrashedError)"
    assert [*found[:3], *found[4:]] == [*"abcdefghijkl"]


def test_a_worker_that_is_killed_costs_nothing(two_workers: Cluster, tmp_path: Path) -> None:
    tasks = [*"abc", f"parent once {tmp_path / 'killed'}", *"defghijkl"]
    assert list(on_ray.read_all(two_workers, read, tasks, limited)) == [*"abc", "survived", *"defghijkl"]
    assert (tmp_path / "killed").exists()


def test_tasks_are_taken_as_they_are_needed(two_workers: Cluster) -> None:
    seen: list[int] = []

    def tasks() -> Iterator[str]:
        for number in range(1000):
            seen.append(number)
            yield "a"

    with closing(on_ray.read_all(two_workers, read, tasks(), limited)) as found:
        assert next(found) == "a"
    assert len(seen) <= on_ray.AHEAD * two_workers.workers * on_ray.FILES_A_BATCH


def test_a_machine_that_does_not_see_the_files_ends_it(two_workers: Cluster, tmp_path: Path) -> None:
    blind = two_workers._replace(sees=str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"does not see .*elsewhere; all machines of a cluster must"):
        list(on_ray.read_all(blind, read, ["a"], limited))


def test_a_running_cluster_is_joined_and_left_alone(two_workers: Cluster, tmp_path: Path) -> None:
    import ray

    with opened("ray", 0, tmp_path) as engine:
        assert engine.beside == 2
    assert ray.is_initialized()


def test_an_address_where_nobody_listens_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'act3d[ray]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"no Ray cluster at {address}, as RAY_ADDRESS says"), opened("ray", 0, "."):
        pass


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"ray is not installed: pip install .*ray"), opened("ray", 0, "."):
        pass


def test_the_local_engine_has_one_process_a_core_if_nothing_is_said() -> None:
    with opened("local", 0, ".") as engine:
        assert engine.beside == os.cpu_count()

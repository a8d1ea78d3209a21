"""Functions of many files by the processes of a Ray cluster (https://docs.ray.io), or of Ray on this machine.

Ray says where a batch of files is worked on, and does it again if the process or the machine is lost. What a file may
do to the process that reads it is limited as it is without Ray: by `guarded`, within Ray's process.
"""

import contextlib
import itertools
import os
import platform
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from act3d.errors import InputError, LostProcess, MissingDependency, reason_of
from act3d.installing import how_to_install
from act3d.readers import guarded
from act3d.readers.guarded import Limits, Lost

FILES_A_BATCH = 8  # Ray takes about a millisecond for a batch, a file some 50
AHEAD = 3  # batches a worker that wait for it or for their turn
SECONDS_TO_ANSWER = 20.0
RETRIES = 2  # of a batch whose process or machine is lost, and again of each of its files alone

Work = Callable[[Sequence[Any]], list[Any]]


class Cluster(NamedTuple):
    """A cluster: batches at once, those of them on one machine, GPUs in all, and a place that all machines must see."""

    workers: int
    beside: int
    gpus: int
    sees: str


@contextlib.contextmanager
def cluster(workers: int, sees: str | os.PathLike[str]) -> Iterator[Cluster]:
    """Join the cluster that RAY_ADDRESS names, else start Ray on this machine for a while.

    Args:
        workers: Batches at once; 0 = as many as the cluster has cores.
        sees: A file or folder. A machine that does not see it would call every file missing.

    Raises:
        MissingDependency: Ray is not installed.
        InputError: There is no cluster at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
    except ImportError:
        raise MissingDependency(f"engine: ray is not installed: {how_to_install('ray')}") from None
    joined = ray.is_initialized()
    address = os.environ.get("RAY_ADDRESS") or "local"
    if not joined:
        cores: dict[str, Any] = {"num_cpus": workers or os.cpu_count()} if address == "local" else {}
        _check_answers(address)
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR", include_dashboard=False, **cores)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"engine: no Ray cluster at {address}: {reason_of(error)}") from None
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores_of = [int(machine.get("CPU", 0)) for machine in machines]
        wanted = workers or max(1, sum(cores_of))
        gpus = int(sum(machine.get("GPU", 0) for machine in machines))
        yield Cluster(wanted, max(1, min(wanted, max(cores_of, default=1))), gpus, os.path.abspath(sees))
    finally:
        if not joined:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse an address HOST:PORT where nobody listens: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"engine: no Ray cluster at {address}, as RAY_ADDRESS says: {reason_of(error)}") from None


def read_all(
    cluster: Cluster, function: Callable[[Any], Any], tasks: Iterable[Any], limits: Callable[[Any], Limits]
) -> Generator[Any, None, None]:
    """Yield what `guarded.read_all` would, worked out by a cluster."""
    work = partial(_read_batch, function=function, limits=limits, folder=os.getcwd())
    with contextlib.closing(run(cluster, work, _batches(tasks))) as results:
        for found in results:
            yield from found


def _batches(tasks: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(tasks)
    while batch := list(itertools.islice(left, FILES_A_BATCH)):
        yield batch


def _read_batch(
    tasks: Sequence[Any], function: Callable[[Any], Any], limits: Callable[[Any], Limits], folder: str
) -> list[Any]:
    with contextlib.suppress(OSError):
        os.chdir(folder)  # relative paths are the caller's
    return list(guarded.read_all(function, tasks, limits))


def run(
    cluster: Cluster, work: Work, batches: Iterable[Sequence[Any]], cores: int = 1, gpus: int = 0
) -> Generator[list[Any], None, None]:
    """Yield `work(batch)` of each batch, in order; a task whose process is lost again and again is `Lost`.

    Args:
        cluster: Where.
        work: Gives one result a task; importable by name on every machine. What it raises is raised here.
        batches: Taken as they are needed.
        cores, gpus: That a batch needs.

    Raises:
        LostProcess: The cluster is gone.
        InputError: A machine does not see what it must.
    """
    import ray

    # max_calls 0: a process that holds a model on a GPU serves further batches, too.
    options = {"num_cpus": cores, "num_gpus": gpus, "max_retries": RETRIES, "max_calls": 0}
    remote = ray.remote(**options)(work_on)
    ask = partial(remote.remote, ray.put(work), cluster.sees)  # the work is sent once, not with every batch
    waiting: deque[tuple[Any, Sequence[Any]]] = deque()
    try:
        for batch in batches:
            waiting.append((ask(batch), batch))
            if len(waiting) >= AHEAD * cluster.workers:
                yield _result(ask, *waiting.popleft())
        while waiting:
            yield _result(ask, *waiting.popleft())
    finally:  # also when the caller stops early
        for reference, _ in waiting:
            ray.cancel(reference, force=True)


def work_on(work: Work, sees: str, batch: Sequence[Any]) -> list[Any]:
    """Return `work(batch)`: what runs in a process of Ray's."""
    if not os.path.exists(sees):
        raise InputError(f"engine: the machine {platform.node()} does not see {sees}; all machines of a cluster must")
    return work(batch)


def _result(ask: Callable[[Sequence[Any]], Any], reference: Any, batch: Sequence[Any]) -> list[Any]:
    """Return what a batch gave; of one that was lost with its process each task alone."""
    import ray
    from ray import exceptions

    try:
        found: list[Any] = ray.get(reference)
        return found
    except exceptions.RayTaskError as error:
        raise error.cause from None
    except (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError) as error:
        if len(batch) == 1:
            return [Lost(f"took its Ray worker down {RETRIES + 1} times ({type(error).__name__})")]
    except exceptions.RayError as error:
        raise LostProcess(f"Ray: {reason_of(error)}; the same command goes on") from None
    alone = [(ask([task]), [task]) for task in batch]
    return [found for one in alone for found in _result(ask, *one)]

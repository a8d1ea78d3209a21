"""What runs a function on many files: processes of this machine, or those of a Ray cluster."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from act3d.readers.guarded import Limits, read_all

Read = Callable[[Callable[[Any], Any], Iterable[Any], Callable[[Any], Limits]], Generator[Any, None, None]]


class Engine(NamedTuple):
    """Processes that read files.

    Attributes:
        read: `guarded.read_all`, or an equal of it, without `workers`: function, tasks, limits -> results in order.
        beside: Processes of one machine, which share its memory.
    """

    read: Read
    beside: int


def local(workers: int = 1) -> Engine:
    """Return processes of this machine."""
    return Engine(partial(read_all, workers=workers), workers)


@contextmanager
def opened(name: str, workers: int, sees: str | os.PathLike[str]) -> Iterator[Engine]:
    """Give the engine of a name, "local" or "ray", for a while; 0 workers = as many as there are cores.

    All machines must see the file or folder `sees`.

    Raises:
        MissingDependency: Ray is not installed.
        InputError: The cluster cannot be reached.
    """
    if name == "ray":
        from act3d.readers import on_ray

        with on_ray.cluster(workers, sees) as cluster:
            yield Engine(partial(on_ray.read_all, cluster), cluster.beside)
    else:
        yield local(workers or os.cpu_count() or 1)

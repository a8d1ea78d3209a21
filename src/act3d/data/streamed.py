"""Packed datasets at URLs: every shard is fetched to this machine's disk when the first of its clouds is wanted.

A cloud is still read by its place, so that everything that reads a folder reads a URL; only the order of training is
another one (`act3d.data.shard_order`), for a shard must not be fetched again for each of its clouds.
"""

import threading
from collections import OrderedDict
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np

from act3d.channels import width_of
from act3d.data.clouds import Shards
from act3d.data.description import TABLE, kinds_of, read_table
from act3d.data.layout import Found, check_by_opening
from act3d.data.packed import PackedDataset
from act3d.errors import InputError
from act3d.remote import join, local_copy

OPEN = 64  # shards that stay memory-mapped
FETCHERS = 4  # shards that are fetched at once, ahead of their first cloud


class StreamedDataset(PackedDataset):
    """A prepared dataset at a URL. See `PackedDataset` for arguments, `act3d.remote` for where the copies lie.

    Attributes:
        checksums: the SHA-256 of every file.

    Raises:
        InputError: no such dataset, one without checksums, damaged, or the selection is empty or impossible.
    """

    root: str
    shards: Shards

    def __init__(self, root: str, *wanted: Any, **named: Any) -> None:
        self._files: list[dict[str, str]] = []
        self._maps: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()
        self._asked: OrderedDict[int, None] = OrderedDict()
        self._queue: SimpleQueue[int] | None = None
        super().__init__(root, *wanted, **named)
        widths = {"points": 3 * self.dtype.itemsize, "parts": 1, "channels": width_of(self.stored_channels)}
        counts = np.array(self._counts, dtype=np.int64)
        sizes = counts * self.stored * sum(widths[kind] for kind in self._files[0])
        self.shards = Shards(self._shards_of(self.rows), sizes)

    def __getstate__(self) -> dict[str, Any]:
        """A process that reads batches opens and fetches for itself."""
        return {**self.__dict__, "_maps": OrderedDict(), "_asked": OrderedDict(), "_queue": None}

    def _read_table(self, info: dict[str, Any]) -> dict[str, list[str]]:
        names = [TABLE, *(shard[kind] for shard in info["shards"] for kind in kinds_of(info))]
        self.checksums = {name: info.get("checksums", {}).get(name) for name in names}
        if missing := [name for name, value in self.checksums.items() if value is None]:
            raise InputError(
                f"{self.root} has no checksum of {missing[0]}: an earlier version prepared it; prepare it again to "
                "read it from a URL"
            )
        return read_table(local_copy(join(self.root, TABLE), self.checksums[TABLE]))

    def _open_shards(self, info: dict[str, Any]) -> None:
        self._files = [{kind: shard[kind] for kind in self._read_kinds(info)} for shard in info["shards"]]
        self._counts = [int(shard["count"]) for shard in info["shards"]]

    def _arrays(self, number: int) -> dict[str, np.ndarray]:
        self._maps[number] = {kind: self._opened(number, kind, name) for kind, name in self._files[number].items()}
        self._maps.move_to_end(number)
        if len(self._maps) > OPEN:
            self._maps.popitem(last=False)
        return self._maps[number]

    def _opened(self, number: int, kind: str, name: str) -> np.ndarray:
        url = join(self.root, name)
        for _ in range(3):
            path = local_copy(url, self.checksums[name])  # marks it as used, too
            known = self._maps.get(number, {}).get(kind)
            if known is not None:
                return known
            try:
                return self._map(path, kind, self._counts[number])
            except InputError as error:
                if path.exists():
                    raise InputError(str(error).replace(str(path), url)) from None
        raise InputError(f"{url}: its copies are removed before they are opened; raise ACT3D_CACHE_GB")

    def prefetch(self, rows: np.ndarray) -> None:
        for number in dict.fromkeys(self._shards_of(self.rows[rows]).tolist()):
            if number not in self._asked:
                self._ask(number)
            self._asked.move_to_end(number)

    def _ask(self, number: int) -> None:
        if self._queue is None:
            self._queue = SimpleQueue()
            for _ in range(FETCHERS):
                # A daemon: a process that ends does not wait for what it will not read.
                threading.Thread(target=self._fetch_all, args=(self._queue,), daemon=True).start()
        self._queue.put(number)
        self._asked[number] = None
        if len(self._asked) > OPEN:
            self._asked.popitem(last=False)

    def _fetch_all(self, queue: "SimpleQueue[int]") -> None:
        while True:
            for name in self._files[queue.get()].values():
                # What goes wrong here goes wrong again, and is said, when the first cloud of the shard is read.
                with suppress(Exception):
                    local_copy(join(self.root, name), self.checksums[name])


def check_streamed(root: str) -> list[Found]:
    """Fetch and compare every file of a prepared dataset at a URL, then read every cloud."""
    found = Found("prepared dataset", command="autoencode")
    try:
        clouds = StreamedDataset(root)
    except InputError as error:
        found.problems.append(str(error))
        return [found]
    found.variant = clouds.name
    for name, expected in clouds.checksums.items():
        try:
            local_copy(join(root, name), expected)
        except InputError as error:
            found.problems.append(str(error))
    if not found.problems:
        check_by_opening(found, lambda split: StreamedDataset(root, split), ())
    return [found]

"""The order of training for clouds that are fetched shard by shard: about once an epoch each."""

import numpy as np

from act3d.data.clouds import Shards
from act3d.errors import ConfigError
from act3d.remote import GIGABYTE, cache_limit


def shard_order(rows: np.ndarray, shards: np.ndarray, lanes: int, buffer: int, rng: np.random.Generator) -> np.ndarray:
    """Return `rows` in random order, such that clouds of a shard stay near each other.

    The shards come in random order; one whose clouds come twice has two places in it. This line is cut into `lanes`
    equal parts, and each part is shuffled: no cloud moves by more than `buffer` places. The result takes one cloud of
    every lane in turn, so process r of `lanes` processes, which has every lanes-th cloud from the r-th on, reads the
    shards of lane r and no others. What `lanes` does not divide comes last.

    Args:
        rows: The clouds of an epoch (n,), each as often as it comes.
        shards: The shard of each of them (n,).
        lanes: Number of lanes.
        buffer: Clouds within which a lane is shuffled.
        rng: What the order is drawn from.
    """
    copies = _copies(rows)
    visits = np.unique(shards * (int(copies.max(initial=0)) + 1) + copies, return_inverse=True)[1]
    places = rng.permutation(int(visits.max(initial=-1)) + 1)[visits]
    line = rows[np.argsort(places, kind="stable")]
    length = len(line) // lanes
    parts = [line[lane * length : (lane + 1) * length] for lane in range(lanes)]
    mixed = [part[np.argsort(np.arange(length) + buffer * rng.random(length))] for part in parts]
    return np.concatenate([np.stack(mixed, axis=1).reshape(-1), line[lanes * length :]])


def _copies(rows: np.ndarray) -> np.ndarray:
    """Of each row how often it came before, (n,): 0 for its first place."""
    order = np.argsort(rows, kind="stable")
    first = np.searchsorted(rows[order], rows[order])
    copies = np.empty(len(rows), dtype=np.int64)
    copies[order] = np.arange(len(rows)) - first
    return copies


def check_fits(shards: Shards, buffer: int, lanes: int, name: str) -> None:
    """Check that the copies of shards on this disk may be as large as an epoch needs, all its processes being here.

    Raises:
        ConfigError: shards would be fetched again and again.
    """
    used = np.unique(shards.of)
    sizes = shards.sizes[used]
    fetched = sizes > 0
    if not fetched.any():
        return
    at_once = lanes * (buffer // (len(shards.of) // len(used) or 1) + 2)  # in the buffer, begun, and fetched ahead
    needed = min(int(sizes.sum()), at_once * int(sizes.max()))
    if needed > cache_limit():
        raise ConfigError(
            f"data.shuffle_buffer: {buffer} clouds of {name} need {needed / GIGABYTE:.2g} GB of copies on this disk, "
            f"and ACT3D_CACHE_GB allows {cache_limit() / GIGABYTE:.2g}; raise it, or choose a smaller buffer"
        )

"""A label for every point of a whole room: overlapping blocks, and votes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from act3d.channels import width_of
from act3d.data.rooms import Grid
from act3d.errors import InputError

PAD = 0.001  # of a block, so that points on a border are not lost to rounding


class Blocks(NamedTuple):
    """Some blocks of a room: points (B, N, 3) centred in x and y, and the place of each in the room (B, N)."""

    points: np.ndarray
    places: np.ndarray


def room_blocks(
    points: np.ndarray,
    count: int,
    batch_size: int,
    block: float = 1.0,
    stride: float = 0.5,
    rng: np.random.Generator | None = None,
    grid: Grid | None = None,
) -> Iterator[Blocks]:
    """Cut a room into square blocks every `stride`, each into clouds of `count` points that together hold all of it.

    A block's points come in random order, the last cloud is filled up with others of the same block. Only
    `batch_size` clouds are in memory at a time.

    Args:
        points: Tensor with shape (n, 3), z up.
        count: N, points of a cloud.
        batch_size: Clouds given at once.
        block, stride: In the points' unit.
        rng: Of the order.
        grid: `Grid` of the points, if there is one already.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    grid = Grid(points, stride / 2) if grid is None else grid
    low, high = points[:, :2].min(axis=0).astype(np.float64), points[:, :2].max(axis=0).astype(np.float64)
    # The last block of a row ends with the room.
    steps = [max(1, int(np.ceil((h - lo - block) / stride)) + 1) for lo, h in zip(low, high, strict=True)]
    clouds: list[tuple[np.ndarray, np.ndarray]] = []
    for i in range(steps[0]):
        for j in range(steps[1]):
            corner = np.minimum(low + np.array([i, j]) * stride, np.maximum(high - block, low))
            inside = grid.inside(corner - PAD * block, corner + (1 + PAD) * block)
            if not len(inside):
                continue
            order = rng.permutation(inside)
            short = -len(order) % count
            order = np.concatenate([order, rng.choice(inside, short, replace=short > len(inside))])
            for places in order.reshape(-1, count):
                clouds.append((corner + block / 2, places))
                if len(clouds) == batch_size:
                    yield _gather(points, clouds)
                    clouds = []
    if clouds:
        yield _gather(points, clouds)


def _gather(points: np.ndarray, clouds: list[tuple[np.ndarray, np.ndarray]]) -> Blocks:
    places = np.stack([places for _, places in clouds])
    chosen = points[places].astype(np.float32)
    chosen[:, :, :2] -= np.stack([center for center, _ in clouds])[:, None].astype(np.float32)
    return Blocks(chosen, places)


@torch.no_grad()
def segment_room(
    model: nn.Module,
    points: np.ndarray,
    classes: int,
    count: int = 2048,
    batch_size: int = 32,
    block: float = 1.0,
    stride: float = 0.5,
    votes: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Label every point of a room by the majority of all blocks, `votes` times over.

    Memory: the points, their grid, one batch of clouds and an int32 count for every point and class.

    Args:
        model: Takes clouds (B, N, 3), gives logits (B, N, classes); put it in eval mode first.
        points: (n, 3), or (n, 3 + F) for a model with channels; z up, in the unit the model was trained in.
        classes: Number of classes.
        count, batch_size: Points of a cloud and clouds at once.
        block, stride: Width of a block, and the distance from one to the next.
        votes: How many times all blocks are gone through, cut differently each time.
        seed: Of how they are cut.
        progress: Called with (votes done in all, points labelled in this vote).

    Returns:
        int64 array with shape (n,). Of classes with equally many votes the first wins.

    Raises:
        InputError: Not (n, 3) finite points, or a stride that leaves gaps.
    """
    width = 3 + width_of(getattr(model, "channels", ()))
    if points.ndim != 2 or points.shape[1] != width or not len(points) or not np.isfinite(points).all():
        raise InputError(f"a room must be finite points (n, {width}), n > 0; got {points.shape}")
    if not 0 < stride <= block:
        raise InputError(f"stride {stride} must be above 0 and at most the block's width, {block}")
    device = next(model.parameters()).device
    total = torch.zeros(len(points) * classes, dtype=torch.int32, device=device)
    grid = Grid(points, stride / 2)
    for vote in range(votes):
        rng = np.random.default_rng([seed % 2**32, vote])
        done = 0
        for clouds in room_blocks(points, count, batch_size, block, stride, rng, grid):
            add_votes(total, model(torch.from_numpy(clouds.points).to(device)), torch.from_numpy(clouds.places))
            done += clouds.places.size
            if progress is not None:
                progress(vote, done)
    return total.view(-1, classes).argmax(dim=1).cpu().numpy()


def add_votes(total: Tensor, logits: Tensor, places: Tensor) -> None:
    """Add one vote for the likeliest class of every point: a scatter into (n K,) counts.

    Args:
        total: int32 Tensor with shape (n K,).
        logits: Tensor with shape (B, N, K).
        places: int64 Tensor with shape (B, N), each point's place in the room.
    """
    label = logits.argmax(dim=2)
    flat = (places.to(label.device) * logits.shape[2] + label).view(-1)
    total.scatter_add_(0, flat, torch.ones_like(flat, dtype=total.dtype))

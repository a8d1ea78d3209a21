"""Scores of a segmenter of scenes: on random blocks of rooms, and on whole rooms by votes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from act3d.data.rooms import Room, RoomFolder
from act3d.data.scenes import SceneBlocks
from act3d.evaluation.segmentation import SceneScores
from act3d.evaluation.whole_room import segment_room
from act3d.lines import say

NUMBERS = ("miou", "macc", "oa")


class Cut(NamedTuple):
    """How rooms are cut into clouds.

    points, batch_size: of a cloud, and clouds at once. block, stride: width of a block and distance from one to the
    next, in the rooms' unit. min_points, coverage: of random blocks, see `SceneBlocks`.
    """

    points: int
    batch_size: int
    block: float = 1.0
    stride: float = 0.5
    min_points: int = 1024
    coverage: float = 1.0


def score_rooms(
    model: nn.Module,
    folder: RoomFolder,
    rooms: Sequence[str],
    cut: Cut,
    votes: int = 3,
    limit: int = 0,
    keep: Callable[[Room, np.ndarray], list[Path]] | None = None,
) -> dict[str, Any]:
    """Score a segmenter on rooms, one in memory at a time.

    Args:
        model: in eval mode, on its device.
        folder: the rooms.
        rooms: names of the test rooms.
        cut: how rooms are cut into clouds.
        votes: times a whole room is gone through.
        limit: this many rooms and batches of blocks only, with one vote; 0 = all.
        keep: is given every room with its labels (n,), and returns the files that it wrote, if any.

    Returns:
        miou, macc, oa and classes over whole rooms with votes; the same over blocks under "blocks"; "rooms" one by one.
    """
    whole, blocks = SceneScores(folder.classes), SceneScores(folder.classes)
    table: dict[str, Any] = {}
    written: list[str] = []
    votes = 1 if limit else votes
    channels = getattr(model, "channels", ())
    for name in rooms[: limit or None]:
        room = folder.read(name)
        began = time.monotonic()
        found = segment_room(
            model,
            room.with_channels(channels),
            len(folder.classes),
            cut.points,
            cut.batch_size,
            cut.block,
            cut.stride,
            votes,
        )
        seconds = time.monotonic() - began
        whole.add(found, room.labels)
        _score_blocks(model, folder, name, cut, blocks, limit)
        mine = SceneScores(folder.classes)
        mine.add(found, room.labels)
        result = mine.result()
        table[name] = {key: result[key] for key in (*NUMBERS, "points")} | {"seconds": round(seconds, 2)}
        say(
            f"{name}: {len(room.points)} points, mIoU {result['miou']:.1f}, OA {result['oa']:.1f}  ({seconds:.1f} s)",
            error=True,
        )
        if keep is not None:
            written += map(str, keep(room, found))
    by_block = {key: value for key, value in blocks.result().items() if key in (*NUMBERS, "points")}
    return whole.result() | {"votes": votes, "blocks": by_block, "rooms": table, "written": written}


@torch.no_grad()
def _score_blocks(model: nn.Module, folder: RoomFolder, name: str, cut: Cut, scores: SceneScores, limit: int) -> None:
    """Add random blocks of a room, always the same, drawn as those of training are."""
    device = next(model.parameters()).device
    blocks = SceneBlocks(
        folder, [name], cut.points, cut.block, cut.min_points, cut.coverage, 0, getattr(model, "channels", ())
    )
    rows = np.arange(len(blocks))[: limit * cut.batch_size or None]
    for start in range(0, len(rows), cut.batch_size):
        batch = blocks.fetch(rows[start : start + cut.batch_size].tolist(), 0)
        scores.add(model(batch["points"].to(device)).argmax(dim=2).cpu().numpy(), batch["parts"].numpy())

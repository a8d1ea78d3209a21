"""Segmentation of scenes: a class for every point of a room, learned from blocks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from act3d.data.rooms import UNLABELLED, Room, RoomFolder, class_weights, open_rooms
from act3d.data.scenes import SceneBlocks
from act3d.engine import processes
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.errors import InputError
from act3d.evaluation.protocol import protocol_name
from act3d.evaluation.scenes import NUMBERS, Cut, score_rooms
from act3d.evaluation.segmentation import SceneScores
from act3d.files import atomic_path, write_json
from act3d.models.segmenter import Segmenter
from act3d.recipes.common import best_or_last, checkpoint_meta, settle_channels
from act3d.recipes.segmenter import build_segmenter
from act3d.settings.segmentation import SceneConfig
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig
from act3d.use.labelled_clouds import write_ply

# Points (n, 3), predicted and true labels (n,), class names, name of the room -> a PNG file.
RenderRoom = Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str], str], bytes]


class Scenes(NamedTuple):
    """Training blocks; validation blocks, or None; names of the test rooms, and the folder that holds them."""

    folder: RoomFolder
    train: SceneBlocks
    validation: SceneBlocks | None
    test: list[str]


def open_scenes(data: DataConfig, scenes: SceneConfig, protocol: Protocol, select: Select, seed: int) -> Scenes:
    """Open the rooms of a run by protocol; see `act3d.evaluation.protocol`. With "best" whole rooms are held out."""
    folder = open_rooms(data.root)
    train, test = folder.choose(scenes.held_out)
    validation: list[str] = []
    if protocol == "legacy":
        validation = test
    elif select == "best":
        count = max(1, round(data.val_fraction * len(train)))
        if data.val_split != "holdout" or count >= len(train):
            raise InputError("data.val_split: select=best holds whole rooms out of training; it needs two at least")
        chosen = np.random.default_rng([seed % 2**32, 0x726F6F6D]).permutation(len(train))[:count]
        validation = [train[i] for i in sorted(chosen)]
        train = [room for room in train if room not in validation]

    beside = data.channels_beside

    def blocks(rooms: list[str], draw: int) -> SceneBlocks:
        return SceneBlocks(folder, rooms, data.points, scenes.block, scenes.min_points, scenes.coverage, draw, beside)

    return Scenes(folder, blocks(train, seed), blocks(validation, 0) if validation else None, test)


class SceneTraining(Recipe):
    """Trains `Segmenter` on blocks of rooms by weighted cross entropy.

    Args:
        settings: `SegmentSettings`.
        model: the segmenter.
        rooms: training blocks, validation blocks (or None), and test rooms.
        start: where the encoder started from.
        render: makes a picture of a room, or None for no pictures.
    """

    command = "segment"
    train_columns = ("loss", "train_oa")
    best_metric = "val_miou"
    lower_is_better = False
    model: Segmenter

    def __init__(
        self,
        settings: Any,
        model: Segmenter,
        rooms: Scenes,
        start: dict[str, Any],
        render: RenderRoom | None = None,
    ) -> None:
        super().__init__(settings, model, rooms.train)
        self.rooms, self.scenes, self.protocol, self.start = rooms, settings.scenes, settings.protocol, start
        self.render = render
        self.eval_columns = tuple(f"val_{name}" for name in NUMBERS) if rooms.validation is not None else ()
        weights = class_weights(np.asarray(rooms.train.counts))
        self.weights = torch.from_numpy(weights if self.scenes.class_weights else np.ones_like(weights))
        data, train = self.data, rooms.train
        self.facts = {
            "task": "scenes",
            "start": start,
            "transfer": settings.segmenter.transfer,
            "test_rooms": rooms.test,
            "clouds": {"rooms": len(train.rooms), "blocks": len(train), "test": len(rooms.test)},
            "protocol_name": protocol_name(settings.protocol, settings.select),
            "augment": data.augment,
            "points": data.points,
        }
        self.meta = checkpoint_meta(train, self.command, self.seed, self.protocol)
        self.meta |= {
            "points": data.points, "start": start, "block": self.scenes.block, "stride": self.scenes.stride,
        }  # fmt: skip

    @classmethod
    def build(cls, settings: Any, folder: RunFolder, resume: bool, render: RenderRoom | None = None) -> "SceneTraining":
        """Return the segmentation of scenes at its beginning.

        Raises:
            InputError: data that cannot be used.
            CheckpointError: the checkpoint is missing, damaged, or does not fit.
        """
        kept = folder.kept_start(resume)
        data = settle_channels(settings.data, settings.checkpoint, kept)
        rooms = open_scenes(data, settings.scenes, settings.protocol, settings.select, settings.seed)
        model, start = build_segmenter(settings, rooms.train.classes, [], kept, data.channels_beside)
        return cls(settings, model, rooms, start, render)

    def keep_inputs(self, folder: RunFolder) -> None:
        """Note where the encoder started from: a resumed run does not need its checkpoint again."""
        write_json(folder.start, self.start)

    def to(self, device: torch.device) -> None:
        """Put the weights of classes where the model is."""
        super().to(device)
        self.weights = self.weights.to(device)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the weighted cross entropy, and the percentage of points that are right."""
        logits, labels = self.model(points), batch["parts"]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), self.weights, ignore_index=UNLABELLED)
        labelled = labels != UNLABELLED
        right = ((logits.argmax(dim=2) == labels) & labelled).sum() / labelled.sum().clamp(min=1)
        return {"loss": loss, "train_oa": 100 * right}

    def use(self, points: Tensor, batch: dict[str, Tensor]) -> object:
        """Segment points (B, N, 3)."""
        return self.model(points)

    @torch.no_grad()
    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Return mIoU, mAcc and OA on the validation blocks, all of the same weights."""
        if self.rooms.validation is None:
            return {}
        processes.share_buffers(self.model)
        scores = SceneScores(self.rooms.train.classes)
        for batch in self.batches_of(self.rooms.validation, self.data.batch_size, limit):
            found = self.model(batch["points"]).argmax(dim=2).cpu().numpy()
            scores.add(found, batch["parts"].numpy())
        scores.confusion = sum(processes.gather_objects(scores.confusion))
        return {f"val_{name}": value for name, value in scores.result().items() if name in NUMBERS}

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Score the test rooms, by blocks and as wholes; write the labels of some."""
        model, chosen = best_or_last(self, folder)
        data, scenes, classes = self.data, self.scenes, self.rooms.folder.classes
        cut = Cut(data.points, data.batch_size, scenes.block, scenes.stride, scenes.min_points, scenes.coverage)
        written = set(self.rooms.test[: scenes.write])

        def keep(room: Room, found: np.ndarray) -> list[Path]:
            if folder is None or room.name not in written:
                return []
            return write_room(folder.path / "predictions", room, found, classes, self.render)

        limit = 1 if self.plan.fast_dev_run else 0
        metrics = score_rooms(model, self.rooms.folder, self.rooms.test, cut, scenes.votes, limit, keep)
        return metrics | {"weights": chosen}


def write_room(
    out: Path, room: Room, found: np.ndarray, classes: Sequence[str], render: RenderRoom | None = None
) -> list[Path]:
    """Write `<room>_predicted.ply`, `<room>_true.ply` and, with `render`, `<room>.png`."""
    labels = room.labels.astype(np.int64)
    paths = [
        write_ply(out / f"{room.name}_predicted.ply", room.points, found, classes),
        write_ply(out / f"{room.name}_true.ply", room.points, labels, classes),
    ]
    if render is not None:
        paths.append(out / f"{room.name}.png")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(render(room.points, found, labels, classes, room.name))
    return paths

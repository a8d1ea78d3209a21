"""Settings of segmentation. See `act3d.settings.training`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from act3d.errors import ConfigError
from act3d.settings.tasks import check_disjoint, check_start
from act3d.settings.training import DataConfig, option


@dataclass(frozen=True)
class SegmenterConfig:
    """The segmenter. Its encoder's size counts from scratch only; with a checkpoint it is the checkpoint's."""

    task: Literal["auto", "parts", "scenes"] = option(
        "auto", "parts of shapes, or scenes of rooms; auto = scenes where data.root holds rooms"
    )
    patches: int = option(128, "patches of a cloud; may differ from pretraining", unit="patches", ge=1)
    patch_size: int = option(32, "points of a patch", unit="points", ge=1)
    head_widths: list[int] = option(  # noqa: RUF009 (it is a field, whatever ruff thinks)
        [1536, 1024, 512, 256], "widths of the head: two layers bring features to points, two decide", ge=1
    )
    dropout: float = option(0.5, "dropout in the head", ge=0, lt=1)
    drop_path: float = option(0.1, "drop-path rate of the last block; rises from 0 at the first", ge=0, lt=1)
    width: int = option(384, "channels of the encoder, from scratch", unit="channels", ge=8)
    depth: int = option(12, "blocks of the encoder, from scratch", unit="blocks", ge=1)
    heads: int = option(6, "attention heads of the encoder, from scratch; divides width", ge=1)
    votes: int = option(
        10, "passes over every test shape, each scaled and drawn anew, whose probabilities are averaged; 0 = none", ge=0
    )
    leave_out: str = option(
        "", 'classes of shapes, and parts, that are neither trained nor judged, joined by "+": "spacer+marking"'
    )


@dataclass(frozen=True)
class SceneConfig:
    """How rooms are cut, for task "scenes"."""

    held_out: str = option(
        "", 'test rooms, by the beginning of their names: "Area_5"; empty = Area_5 of S3DIS, or the declared split'
    )
    block: float = option(1.0, "width of the square blocks that rooms are cut into", unit="m", gt=0)
    stride: float = option(0.5, "distance between the blocks of a whole room", unit="m", gt=0)
    min_points: int = option(1024, "blocks with fewer points are not trained on", unit="points", ge=0)
    coverage: float = option(1.0, "an epoch draws this many times as many points as the rooms have", gt=0)
    votes: int = option(3, "times a whole room is gone through", ge=1)
    write: int = option(3, "test rooms whose labels are written as PLY files and pictures", ge=0)
    class_weights: bool = option(True, "weigh classes by (largest frequency / frequency)^(1/3) in the loss")


def validate_segmenter(settings: Mapping[str, Any]) -> None:
    """Check what `act3d.settings.training.validate` cannot know.

    Raises:
        ConfigError: names the key, its value, and what is allowed.
    """
    data: DataConfig = settings["data"]
    model: SegmenterConfig = settings["segmenter"]
    scenes: SceneConfig = settings["scenes"]
    for name in ("patches", "patch_size"):
        if getattr(model, name) > data.points:
            raise ConfigError(f"segmenter.{name}: {getattr(model, name)} must be <= data.points ({data.points})")
    if model.width % model.heads:
        raise ConfigError(f"segmenter.heads: {model.heads} must divide segmenter.width ({model.width})")
    if len(model.head_widths) != 4:
        raise ConfigError(f"segmenter.head_widths: {model.head_widths} must be four widths")
    if scenes.stride > scenes.block:
        raise ConfigError(f"scenes.stride: {scenes.stride:g} must be <= scenes.block ({scenes.block:g})")
    if data.batch_size < 2:
        raise ConfigError("data.batch_size: 1 is too few; batch norms need two clouds")
    check_disjoint(data.split, settings.get("test_split", ""), "test_split")
    check_start(settings["trainer"])

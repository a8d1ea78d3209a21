"""Settings of segmentation: parts of shapes, and scenes of rooms."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from act3d.errors import ConfigError
from act3d.settings.data import DataConfig
from act3d.settings.model import Section, option
from act3d.settings.places import Place, Weights
from act3d.settings.tasks import CHECKPOINT_HELP, Select, TransferSettings
from act3d.settings.training import OptimConfig, TransferConfig, check_patches


class SegmenterConfig(TransferConfig, section="segmenter"):
    """The segmenter. Width, depth and heads are used from scratch only; a checkpoint has its own."""

    task: Literal["auto", "parts", "scenes"] = option(
        "auto", "parts of shapes, or scenes of rooms; auto = scenes where data.root holds rooms"
    )
    patches: int = option(128, "patches of a cloud; may differ from pretraining", unit="patches", ge=1)
    patch_size: int = option(32, "points of a patch", unit="points", ge=1)
    head_widths: list[Annotated[int, Field(ge=1)]] = option(
        [1536, 1024, 512, 256], "widths of the head: two layers for features of points, two for the classification"
    )
    dropout: float = option(0.5, "dropout in the head", ge=0, lt=1)
    votes: int = option(
        10,
        "passes over every test shape, each with random scale and points, whose probabilities are averaged; 0 = none",
        ge=0,
    )
    leave_out: str = option(
        "", 'classes of shapes, and parts, that are neither trained nor tested, joined by "+": "spacer+marking"'
    )

    @model_validator(mode="after")
    def _check_head_widths(self) -> Self:
        if len(self.head_widths) != 4:
            raise ConfigError(f"segmenter.head_widths: {self.head_widths} must be four widths")
        return self


class SceneConfig(Section, section="scenes"):
    """How rooms are cut, for task "scenes"."""

    held_out: str = option(
        "", 'test rooms, by the beginning of their names: "Area_5"; empty = Area_5 of S3DIS, or the declared split'
    )
    block: float = option(1.0, "width of the square blocks that rooms are cut into", unit="m", gt=0)
    stride: float = option(0.5, "distance between the blocks of a whole room", unit="m", gt=0)
    min_points: int = option(1024, "blocks with fewer points are not trained on", unit="points", ge=0)
    coverage: float = option(1.0, "points of an epoch, as a multiple of the points of all rooms", gt=0)
    votes: int = option(3, "passes over a whole room, whose votes are added", ge=1)
    write: int = option(3, "test rooms whose labels are written as PLY files and pictures", ge=0)
    class_weights: bool = option(True, "weigh classes by (largest frequency / frequency)^(1/3) in the loss")

    @model_validator(mode="after")
    def _check_stride(self) -> Self:
        if self.stride > self.block:
            raise ConfigError(f"scenes.stride: {self.stride:g} must be <= scenes.block ({self.block:g})")
        return self


class SegmentSettings(TransferSettings, command="segment"):
    """Train a segmenter.

    Parts: shapes with part labels (ShapeNetPart as released, or any prepared dataset with parts). Results are instance
    mIoU, class mIoU and accuracy, all of one epoch, a table by category, and the same with votes.

    Scenes: a folder of rooms (S3DIS, synthetic rooms, or your own; see act3d prepare). Results are mIoU, mAcc and OA,
    by blocks and over whole rooms with votes; labels are written as coloured PLY files beside the ground truth.
    """

    retired = frozenset({"evaluate"})  # `act3d evaluate` takes segmenters

    checkpoint: Weights = option("", CHECKPOINT_HELP)
    data: DataConfig = option(
        DataConfig(points=2048, batch_size=16),
        'labelled shapes, or rooms; `val_split` and `val_fraction` choose what is held out when select is "best"',
    )
    segmenter: SegmenterConfig = option(
        SegmenterConfig(), "the task, how clouds are cut, the head, and the encoder's size from scratch"
    )
    scenes: SceneConfig = option(SceneConfig(), "how rooms are cut, and which of them are for testing")
    optim: OptimConfig = option(OptimConfig(lr=2e-4, weight_decay=0.05, clip=10), "AdamW and the learning rate")
    select: Select = option(
        "last", 'under "standard", report the "last" epoch, or the "best" on shapes or rooms held out of training'
    )
    test_split: str = option("test", "split of the dataset to test parts on (rooms: scenes.held_out)")
    out: Place = option(
        "runs/segment",
        "run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, predictions/, results.json",
    )

    @model_validator(mode="after")
    def _check_clouds(self) -> Self:
        check_patches(self.segmenter, self.data.points)
        if self.data.batch_size < 2:
            raise ConfigError("data.batch_size: 1 is too few; batch norms need two clouds")
        return self

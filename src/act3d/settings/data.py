"""The `data` sections: which clouds a command opens, and how. They share their fields by inheritance."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from act3d.channels import parse_channels
from act3d.errors import ConfigError
from act3d.files import folders_of
from act3d.settings.model import Section, option
from act3d.settings.places import Dataset, Datasets

Engine = Literal["local", "ray"]

ENGINE_HELP = (
    "what runs the processes: local = this machine; ray (needs act3d[ray]) = the cluster that RAY_ADDRESS names, or "
    "without that Ray on this machine. All machines must see the files"
)


def check_disjoint(split: str, test_split: str, key: str) -> None:
    """Check that no split both trains and tests; splits may be joined by "+".

    Raises:
        ConfigError: names `key`, the setting of the split that tests, and what the two have in common.
    """
    if shared := set(split.split("+")) & set(test_split.split("+")):
        raise ConfigError(f"{key}: {', '.join(sorted(shared))} is in data.split ({split}) as well")


class ShapeChoice(Section, section="data"):
    """A choice of a dataset's shapes."""

    split: str = option("", 'of a prepared dataset: "train", "test" ..., joined by +; empty = all')
    subset: str = option("", 'a named part of the dataset, such as "core" in the KiCad collection; empty = all of it')


class DatasetChoice(ShapeChoice):
    """A dataset, and a choice of its shapes."""

    root: Dataset = option(
        "sample",
        'dataset folder, as `act3d prepare` or a release made it; URL of a prepared one (s3://, hf:// ...); "sample" = '
        "the shipped one",
    )


class CloudChoice(DatasetChoice):
    """Clouds to open: their points, normalization and batch size."""

    points: int = option(0, "points of a cloud; 0 = as many as the model was trained with", unit="points", ge=0)
    normalize: Literal["auto", "unit_sphere", "none"] = option(
        "auto", "centre every cloud and scale it to the unit sphere, or not; auto = as the model was trained, else as "
        "the dataset declares"
    )  # fmt: skip
    batch_size: int = option(64, "clouds at once", unit="clouds", ge=1)


def check_xyz(data: "DataConfig", what: str, why: str) -> None:
    """Check that points are asked for without channels.

    Raises:
        ConfigError: they are not; `what` takes x, y and z only, and `why` says the reason.
    """
    if data.channels_beside:
        raise ConfigError(f"data.channels: {data.channels}; {what} takes xyz only: {why}")


class DataConfig(CloudChoice):
    """The clouds to train on."""

    split: str = option("train", 'split to train on; join two by "+", as in "train+test" or "train+unlabeled"')
    points: int = option(1024, "points drawn from every cloud", unit="points", ge=32)
    normalize: Literal["auto", "unit_sphere", "none"] = option(
        "auto", "centre every cloud and scale it to the unit sphere, or not; auto = what the dataset declares"
    )
    batch_size: int = option(64, "clouds a step on every device", unit="clouds", ge=1)
    workers: int = option(0, "loading processes; 0 loads in the main one (fast enough for packed data)", ge=0, le=256)
    resident: Literal["auto", "always", "never"] = option(
        "auto",
        "keep all training clouds on the training device, so that no step loads any; auto = on CUDA, when they take a "
        "third of its free memory at most. Random points are chosen where the cloud is kept; host and device choose "
        "different ones, so their losses differ a little",
    )
    shuffle_buffer: int = option(
        8192,
        "of a dataset at a URL: clouds that the order of training is shuffled within, after its shards",
        unit="clouds",
        ge=1,
    )
    augment: str = option("none", 'augmentation of training clouds, joined by "+": scale_shift, rotate_y, rotate_x ...')
    channels: str = option(
        "auto",
        "what points have: xyz, with normal and rgb behind it where the dataset stores them, as in xyz,normal,rgb; "
        "auto = as the checkpoint that is started from, else xyz",
    )
    channel_drop: float = option(
        0.25, "probability that a training cloud goes without a channel, so that a model works without it", ge=0, le=1
    )
    val_split: str = option(
        "holdout", 'what to validate on: "holdout" = a part of `split` kept out of training, "none", or a split\'s name'
    )
    val_fraction: float = option(0.1, 'share of every class that "holdout" keeps out of training', gt=0, le=0.5)

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.channels != "auto":
            parse_channels(self.channels)
        return self

    @property
    def channels_beside(self) -> tuple[str, ...]:
        """The channels beside x, y and z."""
        return () if self.channels == "auto" else parse_channels(self.channels)


class PoolConfig(DataConfig):
    """The clouds to learn from, of one dataset or of several."""

    root: Datasets = option(
        "sample",
        'dataset folder, as `act3d prepare` or a release made it; URL of a prepared one (s3://, hf:// ...); "sample" = '
        "the shipped one; several joined by commas, or a text file (.txt) with one a line",
    )
    weights: list[Annotated[float, Field(gt=0, le=100)]] = option(
        [],
        "of several datasets, how often each one's clouds come in an epoch, as in 2,1 or 1,0.5; empty = once",
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        datasets = len(folders_of(self.root))
        if self.weights and len(self.weights) != datasets:
            raise ConfigError(
                f"data.weights: {len(self.weights)} are given for {datasets} dataset{'s' if datasets > 1 else ''} in "
                "data.root; give one for each"
            )
        if len(self.weights) == 1:
            raise ConfigError("data.weights: one dataset alone needs no weight")
        return self


class OwnDataChoice(CloudChoice):
    """Clouds to open for a model that was trained, by default those that it was trained on."""

    root: Dataset = option(
        "",
        'dataset folder, as `act3d prepare` or a release made it; "sample" = the shipped one; empty = the data that '
        "the model was trained on",
    )
    up: Literal["auto", "x", "y", "z"] = option(
        "auto", "axis along which the clouds stand; auto = as the dataset declares"
    )


class EvaluationData(OwnDataChoice):
    """The labelled clouds to test on."""

    split: str = option(
        "test",
        'split to evaluate on; of rooms "test" = those that were held out in training, else names or beginnings of '
        "names",
    )
    subset: str = option("", 'a named part, such as "core", or the variant of ScanObjectNN; empty = all of it')
    batch_size: int = option(32, "clouds at once", unit="clouds", ge=1)


class ProbeData(OwnDataChoice):
    """The labelled shapes to probe on."""

    split: str = option("train", "split that the classifiers are trained on")
    test_split: str = option("test", "split that they are tested on")

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        check_disjoint(self.split, self.test_split, "data.test_split")
        return self


class FoldData(DatasetChoice):
    """The labelled clouds that folds are drawn from."""

    split: str = option("train", "split that training shapes are drawn from")
    test_split: str = option("test", "split that test shapes are drawn from")

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        check_disjoint(self.split, self.test_split, "data.test_split")
        return self


class ReadData(ShapeChoice):
    """How shapes are read."""

    up: Literal["auto", "x", "y", "z"] = option(
        "auto", "up axis of the files; auto = as in the files that the model was trained on"
    )
    normalize: Literal["auto", "unit_sphere", "none"] = option("auto", "auto = as the model's training clouds")
    batch_size: int = option(32, "shapes embedded at once", unit="shapes", ge=1)
    workers: int = option(
        0,
        "processes that read files beside the one that computes; with embed's --engine ray those that do both, on all "
        "machines together, 0 = one per core",
        ge=0,
    )

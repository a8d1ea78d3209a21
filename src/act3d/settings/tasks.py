"""Settings of what follows pretraining: fine-tuning, evaluation and few-shot tasks. See `act3d.settings.training`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from act3d.errors import ConfigError
from act3d.settings.training import DataConfig, TrainerConfig, option

Protocol = Literal["standard", "legacy"]
Select = Literal["last", "best"]


@dataclass(frozen=True)
class ClassifierConfig:
    """The classifier. Its encoder's size counts from scratch only; with a checkpoint it is the checkpoint's."""

    transfer: Literal["full", "mlp3", "linear", "side", "bitfit"] = option(
        "full", "what trains beside the head: everything; nothing (mlp3, linear); a side network; the biases"
    )
    patches: int = option(64, "patches of a cloud; may differ from pretraining", unit="patches", ge=1)
    patch_size: int = option(32, "points of a patch", unit="points", ge=4)
    dropout: float = option(0.5, "dropout in the head of three layers", ge=0, lt=1)
    drop_path: float = option(0.1, "drop-path rate of the last block; rises from 0 at the first", ge=0, lt=1)
    label_smoothing: float = option(0.0, "share of every label that is spread over all classes", ge=0, lt=1)
    resample: bool = option(
        True, "find farthest points anew every step (released); false = once at the start, much faster on CPUs"
    )
    width: int = option(384, "channels of the encoder, from scratch", unit="channels", ge=8)
    depth: int = option(12, "blocks of the encoder, from scratch", unit="blocks", ge=1)
    heads: int = option(6, "attention heads of the encoder, from scratch; divides width", ge=1)


@dataclass(frozen=True)
class PointMaeConfig:
    """The patches of Point-MAE, which has no teacher to take them from."""

    patches: int = option(64, "patches of a cloud", unit="patches", ge=2)
    patch_size: int = option(32, "points of a patch", unit="points", ge=4)


@dataclass(frozen=True)
class PointBertConfig:
    """The Point-BERT-style student: masks, contrast and mixed clouds."""

    mask_low: float = option(0.25, "smallest share of a cloud's patches that is hidden", gt=0, lt=1)
    mask_high: float = option(0.45, "largest share; every cloud draws its own", gt=0, lt=1)
    contrast: bool = option(True, "tell clouds from earlier ones (MoCo)")
    mix: bool = option(True, "learn from mixtures of two clouds as well")
    momentum: float = option(0.999, "how slowly the copy follows that makes the keys of the contrast", ge=0, le=1)
    temperature: float = option(0.07, "temperature of the contrast", gt=0)
    queue: int = option(16384, "earlier clouds to tell from", unit="clouds", ge=1)
    contrast_width: int = option(512, "width of what is compared", unit="channels", ge=2)


@dataclass(frozen=True)
class FoldsConfig:
    """Few-shot tasks: their settings, and how they are drawn where they are not given."""

    ways: list[int] = option([5, 10], "classes of a task; every way is run with every shot", ge=2)  # noqa: RUF009
    shots: list[int] = option([10, 20], "training shapes of a class", ge=1)  # noqa: RUF009
    folds: list[int] = option(list(range(10)), "folds by number; each draws its clouds anew", ge=0)  # noqa: RUF009
    queries: int = option(20, "test shapes of a class, when folds are drawn here", ge=1)
    draw_seed: int = option(0, "seed of the folds drawn here, whatever else is random", ge=0)


@dataclass(frozen=True)
class FewShotConfig(FoldsConfig):
    """Which few-shot tasks to run, and what to keep of them."""

    keep_weights: bool = option(False, "keep the weights of every fold")


def validate_classifier(settings: Mapping[str, Any]) -> None:
    """Check what `validate` cannot know: patches that fit the points, heads that divide the width.

    Raises:
        ConfigError: names the key, its value, and what is allowed.
    """
    data: DataConfig = settings["data"]
    model: ClassifierConfig = settings["classifier"]
    for name in ("patches", "patch_size"):
        if getattr(model, name) > data.points:
            raise ConfigError(f"classifier.{name}: {getattr(model, name)} must be <= data.points ({data.points})")
    if model.width % model.heads:
        raise ConfigError(f"classifier.heads: {model.heads} must divide classifier.width ({model.width})")
    check_disjoint(data.split, settings.get("test_split", ""), "test_split")
    check_start(settings["trainer"])


def check_start(trainer: TrainerConfig) -> None:
    """Refuse to fit the start of what starts from a checkpoint, before anything is opened.

    Raises:
        ConfigError: names the key.
    """
    if trainer.fit_start:
        raise ConfigError("trainer.fit_start: only act3d autoencode and act3d pretrain can fit their start; use 0")


def check_disjoint(split: str, test_split: str, key: str) -> None:
    """Check that no split both trains and judges; splits may be joined by "+".

    Raises:
        ConfigError: names `key`, the setting of the split that judges, and what the two have in common.
    """
    if shared := set(split.split("+")) & set(test_split.split("+")):
        raise ConfigError(f"{key}: {', '.join(sorted(shared))} is in data.split ({split}) as well")

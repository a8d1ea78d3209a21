"""Every setting of every command: its default, what it means, its unit and its bounds.

The dataclasses here are the arguments of the functions in `act3d.commands`, and the options of the command line.
Only the standard library is needed, so reading a configuration costs nothing.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from act3d.errors import ConfigError


def option(default: Any, help: str, *, unit: str = "", **bounds: float) -> Any:
    """Return a dataclass field with its meaning, unit and bounds (`ge`, `gt`, `le`, `lt`) in the metadata."""
    metadata = {"help": help, "unit": unit, "bounds": bounds}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataConfig:
    """The clouds to learn from."""

    root: str = option("sample", 'dataset folder, as `act3d prepare` or a release made it; "sample" = the shipped one')
    split: str = option("train", 'split to train on; join two by "+", as in "train+test" or "train+unlabeled"')
    points: int = option(1024, "points drawn from every cloud", unit="points", ge=32)
    subset: str = option("", 'a named part of the dataset, such as "core" in the KiCad collection; empty = all of it')
    normalize: Literal["auto", "unit_sphere", "none"] = option(
        "auto", "centre every cloud and scale it to the unit sphere, or not; auto = what the dataset declares"
    )
    batch_size: int = option(64, "clouds a step on every device", unit="clouds", ge=1)
    workers: int = option(0, "loading processes; 0 loads in the main one (fast enough for packed data)", ge=0, le=256)
    resident: Literal["auto", "always", "never"] = option(
        "auto",
        "keep all training clouds on the training device, so that no step loads any; auto = on CUDA, when they take a "
        "third of its free memory at most. Random points of a cloud are drawn where it lives; host and device draw "
        "different ones, so their losses differ a little",
    )
    augment: str = option("none", 'augmentation of training clouds, joined by "+": scale_shift, rotate_y, rotate_x ...')
    val_split: str = option(
        "holdout", 'what to validate on: "holdout" = a part of `split` kept out of training, "none", or a split\'s name'
    )
    val_fraction: float = option(0.1, 'share of every class that "holdout" keeps out of training', gt=0, le=0.5)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Stage I's autoencoder, around the pretrained Transformer."""

    patches: int = option(64, "patches of a cloud", unit="patches", ge=1)
    patch_size: int = option(32, "points of a patch; a multiple of 4", unit="points", ge=4)
    width: int = option(384, "channels of a patch", unit="channels", ge=8)
    codes: int = option(8192, "codes in the codebook", ge=2)
    graph_width: int = option(1024, "widest layer of both heads; a multiple of 32", unit="channels", ge=32)
    folding_width: int = option(512, "layers of the folding decoder", unit="channels", ge=8)


@dataclass(frozen=True)
class BackboneConfig:
    """The pretrained Transformer that becomes the teacher, and its prompts."""

    name: str = option(
        "minilm",
        '"minilm" (comes with act3d[minilm]), "hf:<id or folder>", "timm:<name>", "untrained:<any of these>" (random '
        'weights), or "none" (no Transformer: the Point-BERT dVAE)',
    )
    prompts: int = option(64, "prompt tokens in front of the patches", unit="tokens", ge=0)
    deep_prompts: bool = option(True, "new prompts before every block, rather than one set carried through")
    prompt_dropout: float = option(0.1, "dropout of the prompts in training", ge=0, lt=1)


@dataclass(frozen=True)
class ScheduleConfig:
    """Stage I's two schedules, both by optimizer step."""

    temperature_start: float = option(1.0, "Gumbel-softmax temperature at step 0", gt=0)
    temperature_end: float = option(0.0625, "temperature after the descent", gt=0)
    temperature_steps: int = option(100_000, "length of the cosine descent", unit="steps", ge=1)
    noise: float = option(
        1.0, "scale of the Gumbel noise; 0 = a plain softmax that hardens, for short runs", ge=0, le=1
    )
    kl_weight: float = option(0.1, "weight of KL(uniform || codes) after its rise", ge=0)
    kl_delay: int = option(10_000, "steps before the weight starts to rise from 0", unit="steps", ge=0)
    kl_steps: int = option(100_000, "length of the cosine rise", unit="steps", ge=1)


@dataclass(frozen=True)
class TeacherConfig:
    """Stage I's result, which stage II learns from."""

    checkpoint: str = option("", "stage I's weights: a .safetensors file, or a run folder (its best, else its last)")
    mode: Literal["eval", "released"] = option(
        "eval", '"eval" = frozen in every sense; "released" = dropout and batch statistics on, as the release had it'
    )


@dataclass(frozen=True)
class StudentConfig:
    """The 3D Transformer that is taught. Its patches are the teacher's."""

    width: int = option(384, "channels of the encoder and the decoder", unit="channels", ge=8)
    depth: int = option(12, "blocks of the encoder", unit="blocks", ge=1)
    heads: int = option(6, "attention heads of the encoder; divides width", ge=1)
    decoder_depth: int = option(2, "blocks of the decoder", unit="blocks", ge=1)
    decoder_heads: int = option(6, "attention heads of the decoder; divides width", ge=1)
    drop_path: float = option(0.1, "drop-path rate of the last block; rises from 0 at the first", ge=0, lt=1)
    embed_visible_only: bool = option(
        False, "embed visible patches only: faster, but batch statistics then come from these alone"
    )
    shallow_block: int = option(
        10, "block (counted from 1) whose patches loss.cls_loss reads beside the class token", ge=1
    )


@dataclass(frozen=True)
class MaskConfig:
    """What the student does not see."""

    ratio: float = option(0.8, "share of the patches hidden; 0 = no mask and no decoder", ge=0, lt=1)
    kind: Literal["random", "block"] = option("random", "hide patches at random, or the nearest to a random one")


@dataclass(frozen=True)
class LossConfig:
    """How the student's predictions are compared with the teacher's features."""

    kind: Literal["cosine", "l2", "smooth_l1", "ntxent", "barlow"] = option(
        "cosine", "distance between prediction and the teacher's feature"
    )
    cls_loss: bool = option(False, "add a second prediction that goes through the class token")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, with a linear warm-up and a cosine descent."""

    lr: float = option(5e-4, "highest learning rate, reached after the warm-up", gt=0, le=10)
    weight_decay: float = option(0.05, "weight decay; none on biases, norms and tokens", ge=0, le=10)
    warmup_epochs: float = option(10, "length of the warm-up", unit="epochs", ge=0)
    warmup_lr: float = option(1e-6, "learning rate at the very start", ge=0)
    min_lr: float = option(1e-6, "learning rate at the very end", ge=0)
    schedule_by: Literal["epoch", "step"] = option("epoch", "change the rate once an epoch (released), or every step")
    clip: float = option(0.0, "clip the gradient's norm to this; 0 = do not", ge=0)


@dataclass(frozen=True)
class TrainerConfig:
    """How long, on what, and how often to look and to save."""

    epochs: int = option(300, "passes over the training clouds", unit="epochs", ge=1)
    max_steps: int = option(0, "stop after this many optimizer steps; 0 = no limit", unit="steps", ge=0)
    accelerator: Literal["auto", "cpu", "cuda"] = option("auto", "where to compute; auto = CUDA where there is one")
    devices: int = option(1, "devices to share every step (on the CPU: processes)", ge=1, le=1024)
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "arithmetic of matrix products; on most CPUs bf16 is slower, and fp16 not possible"
    )
    compile: bool = option(
        False, "torch.compile for what a step computes (a minute or more at the start; meant for CUDA)"
    )
    accumulate: int = option(1, "batches whose gradients make one optimizer step", unit="batches", ge=1)
    sync_batchnorm: bool = option(False, "batch statistics over all devices")
    validate_every: int = option(1, "validate every so many epochs and after the last; 0 = never", unit="epochs", ge=0)
    log_every: int = option(10, "a row of metrics.csv every so many steps", unit="steps", ge=1)
    save_every_steps: int = option(0, "save every so many steps; 0 = at the end of epochs only", unit="steps", ge=0)
    save_every_minutes: float = option(10.0, "save when so much time has passed; 0 = do not", unit="minutes", ge=0)
    fit_start: int = option(
        0,
        "before the first step of pretraining, fit scales of the layers to so many clouds; short trainings need it; "
        "0 = start as released",
        unit="clouds",
        ge=0,
    )
    fast_dev_run: bool = option(False, "two steps and one validation batch, to see that everything fits together")


@dataclass(frozen=True)
class ProbeConfig:
    """Stage II's validation (see trainer.validate_every): a linear SVM on frozen features."""

    root: str = option("", "labelled dataset to probe on; empty = data.root")
    split: str = option("", "split that trains the SVM; empty = the training clouds")
    test_split: str = option("", "split that judges it; empty = data.val_split, so never the test set unless asked")
    batch_size: int = option(64, "clouds embedded at once", unit="clouds", ge=1)


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "autoencoder": AutoencoderConfig,
    "schedule": ScheduleConfig,
    "student": StudentConfig,
    "mask": MaskConfig,
    "loss": LossConfig,
    "optim": OptimConfig,
    "trainer": TrainerConfig,
    "probe": ProbeConfig,
}


def fields(config: Any) -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Yield (name, field, type) of a config dataclass or of its class."""
    hints = get_type_hints(config if isinstance(config, type) else type(config))
    for item in dataclasses.fields(config):
        yield item.name, item, hints[item.name]


def describe(item: dataclasses.Field[Any]) -> str:
    """Return one field's help with its unit and bounds, as the command line shows it."""
    extra = [part for part in (item.metadata.get("unit", ""), bounds_text(item.metadata.get("bounds", {}))) if part]
    return item.metadata.get("help", "") + (f" [{', '.join(extra)}]" if extra else "")


def bounds_text(bounds: Mapping[str, float]) -> str:
    """Return bounds as words a user can read: ">= 1, < 2"."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return ", ".join(f"{signs[name]} {limit:g}" for name, limit in bounds.items())


def to_dict(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as plain containers that YAML and JSON can hold."""
    plain = {}
    for name, value in settings.items():
        plain[name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
    return plain


def nearest(name: str, known: list[str], prefix: str = "") -> str:
    """Return "; did you mean X?" for the known name most like `name`, or nothing when none is alike."""
    # A user who forgets the section writes `--lr` for `--optim.lr`: the last part alone may be what matches.
    tails = [item for item in known if item.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6) if len(tails) != 1 else tails
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def validate(settings: Mapping[str, Any]) -> None:
    """Check every value against its type and bounds, and those that must fit together.

    Args:
        settings: names to config dataclasses (or to plain values, which are left alone).

    Raises:
        ConfigError: names the full key, its value, and what is allowed.
    """
    for name, value in settings.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _validate_fields(value, name)
    _check_together(settings)


def _validate_fields(config: Any, prefix: str) -> None:
    for name, item, hint in fields(config):
        key, value = f"{prefix}.{name}", getattr(config, name)
        if not _has_type(value, hint):
            raise ConfigError(f"{key}: {value!r} is not allowed; it must be {type_text(hint)}")
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check_bounds(key, number, item.metadata.get("bounds", {}))


def _check_bounds(key: str, value: float, bounds: Mapping[str, float]) -> None:
    tests = {"ge": value >= bounds.get("ge", -math.inf), "gt": value > bounds.get("gt", -math.inf)}
    tests |= {"le": value <= bounds.get("le", math.inf), "lt": value < bounds.get("lt", math.inf)}
    if not math.isfinite(value) or not all(passed for name, passed in tests.items() if name in bounds):
        raise ConfigError(f"{key}: {value} is out of bounds; it must be {bounds_text(bounds) or 'finite'}")


def _has_type(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_has_type(item, get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def type_text(hint: Any) -> str:
    """Return a type in words: "a number", "one of eval, released"."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is list:
        return f"a list, each item {type_text(get_args(hint)[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _check_together(settings: Mapping[str, Any]) -> None:
    """Check what one field alone cannot tell."""
    if isinstance(settings.get("autoencoder"), AutoencoderConfig):
        _check_autoencoder(settings["autoencoder"], settings.get("data"))
    if isinstance(settings.get("teacher"), BackboneConfig):
        _check_backbone(settings["teacher"])
    if isinstance(settings.get("student"), StudentConfig):
        _check_student(settings["student"], settings.get("mask"), settings.get("loss"))
    if isinstance(settings.get("optim"), OptimConfig) and isinstance(settings.get("trainer"), TrainerConfig):
        _check_optim(settings["optim"], settings["trainer"])


def _check_autoencoder(model: AutoencoderConfig, data: Any) -> None:
    if model.patch_size % 4:
        raise ConfigError(f"autoencoder.patch_size: {model.patch_size} is not allowed; it must be a multiple of 4")
    if model.graph_width % 32:
        raise ConfigError(f"autoencoder.graph_width: {model.graph_width} is not allowed; it must be a multiple of 32")
    for name in ("patches", "patch_size"):
        if data is not None and getattr(model, name) > data.points:
            raise ConfigError(f"autoencoder.{name}: {getattr(model, name)} must be <= data.points ({data.points})")


def _check_backbone(teacher: BackboneConfig) -> None:
    if teacher.deep_prompts and teacher.name != "none" and not teacher.prompts:
        raise ConfigError("teacher.prompts: 0 needs teacher.deep_prompts=false; deep prompts must be >= 1")


def _check_student(student: StudentConfig, mask: Any, loss: Any) -> None:
    for name in ("heads", "decoder_heads"):
        if student.width % getattr(student, name):
            raise ConfigError(f"student.{name}: {getattr(student, name)} must divide student.width ({student.width})")
    if isinstance(loss, LossConfig) and loss.cls_loss:
        if isinstance(mask, MaskConfig) and not mask.ratio:
            raise ConfigError("loss.cls_loss: true needs a decoder, so mask.ratio > 0")
        if student.shallow_block > student.depth:
            raise ConfigError(
                f"student.shallow_block: {student.shallow_block} must be <= student.depth ({student.depth})"
            )


def _check_optim(optim: OptimConfig, trainer: TrainerConfig) -> None:
    if optim.warmup_epochs > trainer.epochs:
        raise ConfigError(f"optim.warmup_epochs: {optim.warmup_epochs:g} must be <= trainer.epochs ({trainer.epochs})")
    for name in ("warmup_lr", "min_lr"):
        if getattr(optim, name) > optim.lr:
            raise ConfigError(f"optim.{name}: {getattr(optim, name):g} must be <= optim.lr ({optim.lr:g})")

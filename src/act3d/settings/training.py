"""Settings that the training commands share, and the sections of both stages of pretraining."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from act3d.errors import ConfigError
from act3d.settings.data import DataConfig
from act3d.settings.model import Section, Settings, option
from act3d.settings.places import Dataset, Place, Weights


class AutoencoderConfig(Section, section="autoencoder"):
    """Stage I's autoencoder, around the pretrained Transformer."""

    patches: int = option(64, "patches of a cloud", unit="patches", ge=1)
    patch_size: int = option(32, "points of a patch; a multiple of 4", unit="points", ge=4)
    width: int = option(384, "channels of a patch", unit="channels", ge=8)
    codes: int = option(8192, "codes in the codebook", ge=2)
    graph_width: int = option(1024, "widest layer of both heads; a multiple of 32", unit="channels", ge=32)
    folding_width: int = option(512, "layers of the folding decoder", unit="channels", ge=8)

    @model_validator(mode="after")
    def _check_multiples(self) -> Self:
        for name, step in (("patch_size", 4), ("graph_width", 32)):
            value = getattr(self, name)
            if value % step:
                raise ConfigError(f"autoencoder.{name}: {value} is not allowed; it must be a multiple of {step}")
        return self


class BackboneConfig(Section, section="teacher"):
    """The pretrained Transformer that becomes the teacher, and its prompts."""

    name: str = option(
        "minilm",
        '"minilm" (comes with act3d[minilm]), "imgfocus" (with act3d[image]), "hf:<id or folder>", "timm:<name>", '
        '"untrained:<any of these>" (random weights), or "none" (no Transformer: the Point-BERT dVAE)',
    )
    prompts: int = option(64, "prompt tokens in front of the patches", unit="tokens", ge=0)
    deep_prompts: bool = option(True, "new prompts before every block; false = one set passed through all blocks")
    prompt_dropout: float = option(0.1, "dropout of the prompts in training", ge=0, lt=1)

    @model_validator(mode="after")
    def _check_prompts(self) -> Self:
        if self.deep_prompts and self.name != "none" and not self.prompts:
            raise ConfigError("teacher.prompts: 0 needs teacher.deep_prompts=false; deep prompts must be >= 1")
        return self


class ScheduleConfig(Section, section="schedule"):
    """Stage I's two schedules, both by optimizer step."""

    temperature_start: float = option(1.0, "Gumbel-softmax temperature at step 0", gt=0)
    temperature_end: float = option(0.0625, "temperature after the descent", gt=0)
    temperature_steps: int = option(100_000, "length of the cosine descent", unit="steps", ge=1)
    noise: float = option(
        1.0, "scale of the Gumbel noise; 0 = a plain softmax at the falling temperature, for short runs", ge=0, le=1
    )
    kl_weight: float = option(0.1, "weight of KL(uniform || codes) after its rise", ge=0)
    kl_delay: int = option(10_000, "steps before the weight starts to rise from 0", unit="steps", ge=0)
    kl_steps: int = option(100_000, "length of the cosine rise", unit="steps", ge=1)


class TeacherConfig(Section, section="teacher"):
    """Stage I's autoencoder, whose features stage II learns."""

    checkpoint: Weights = option(
        "", "weights of stage I: a .safetensors file or a run folder (its best, else its last)"
    )
    mode: Literal["eval", "released"] = option(
        "eval", '"eval" = frozen, in eval mode; "released" = dropout and batch statistics on, as in the release'
    )
    cache: bool = option(
        False,
        "compute the features of some fixed views of every cloud once, keep them on disk, and train on these views, in "
        "less than half the time; by default every epoch draws new views and computes their features",
    )
    views: int = option(4, "views of every cloud that cache keeps; epochs use them in turn", unit="views", ge=1)
    cache_dir: Place = option(
        "", "folder of the cache, for several runs with one teacher, the same clouds and seed; empty = targets in `out`"
    )

    @model_validator(mode="after")
    def _check_cache(self) -> Self:
        if self.cache and self.mode == "released":
            raise ConfigError("teacher.cache: true needs teacher.mode=eval; a released teacher changes at every step")
        return self


class FreshEncoderConfig(Section):
    """The size of an encoder that starts from scratch; a checkpoint has its own."""

    width: int = option(384, "channels of the encoder, from scratch", unit="channels", ge=8)
    depth: int = option(12, "blocks of the encoder, from scratch", unit="blocks", ge=1)
    heads: int = option(6, "attention heads of the encoder, from scratch; divides width", ge=1)
    drop_path: float = option(0.1, "drop-path rate of the last block; rises from 0 at the first", ge=0, lt=1)

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ConfigError(f"{self.section}.heads: {self.heads} must divide {self.section}.width ({self.width})")
        return self


class TransferConfig(FreshEncoderConfig):
    """Which parameters of the encoder are trained beside the head."""

    transfer: Literal["full", "mlp3", "linear", "side", "bitfit", "lora", "adapter"] = option(
        "full",
        "which encoder parameters are trained beside the head: all (full); none, with a head of several layers (mlp3) "
        "or one (linear); a side network's (side); the biases (bitfit); low-rank updates (lora); bottlenecks (adapter)",
    )
    lora_rank: int = option(4, "rank of the updates of transfer lora", ge=1)
    lora_targets: list[Literal["qkv", "proj", "fc1", "fc2"]] = option(
        ["qkv", "fc1"], "layers of every block that transfer lora updates: of attention (qkv, proj), of the MLP"
    )
    adapter_width: int = option(16, "width of the bottlenecks of transfer adapter", unit="channels", ge=1)

    @model_validator(mode="after")
    def _check_lora_targets(self) -> Self:
        if not self.lora_targets or len(set(self.lora_targets)) < len(self.lora_targets):
            raise ConfigError(f"{self.section}.lora_targets: {self.lora_targets} must be some of qkv, proj, fc1, fc2")
        return self


class StudentConfig(Section, section="student"):
    """The 3D Transformer that is pretrained. Its patches are the teacher's."""

    checkpoint: Weights = option(
        "",
        "weights of any model with a point encoder, such as act3d-small: the encoder starts from them, with its width, "
        "depth and heads; empty = fresh weights",
    )
    width: int = option(384, "channels of the encoder, from scratch, and of the decoder", unit="channels", ge=8)
    depth: int = option(12, "blocks of the encoder, from scratch", unit="blocks", ge=1)
    heads: int = option(6, "attention heads of the encoder, from scratch; divides width", ge=1)
    decoder_depth: int = option(2, "blocks of the decoder", unit="blocks", ge=1)
    decoder_heads: int = option(6, "attention heads of the decoder; divides width", ge=1)
    drop_path: float = option(0.1, "drop-path rate of the last block; rises from 0 at the first", ge=0, lt=1)
    embed_visible_only: bool = option(
        False, "embed visible patches only: faster, but batch statistics then come from these alone"
    )
    shallow_block: int = option(
        10, "block (counted from 1) whose patches loss.cls_loss reads beside the class token", ge=1
    )

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        for name in ("heads", "decoder_heads") if not self.checkpoint else ():
            if self.width % getattr(self, name):
                raise ConfigError(f"student.{name}: {getattr(self, name)} must divide student.width ({self.width})")
        return self

    def sized(self, size: Mapping[str, Any]) -> Self:
        """Return the student around an encoder of this width, depth and heads, checked as one from scratch is."""
        own = {name: size[name] for name in ("width", "depth", "heads")}
        return self.model_copy(update={**own, "checkpoint": ""})


class MaskConfig(Section, section="mask"):
    """The patches that are hidden from the student."""

    ratio: float = option(0.8, "share of the patches hidden; 0 = no mask and no decoder", ge=0, lt=1)
    kind: Literal["random", "block"] = option("random", "hide patches at random, or the nearest to a random one")


class LossConfig(Section, section="loss"):
    """How the student's predictions are compared with the teacher's features."""

    kind: Literal["cosine", "l2", "smooth_l1", "ntxent", "barlow"] = option(
        "cosine", "distance between prediction and the teacher's feature"
    )
    cls_loss: bool = option(False, "add a second prediction that goes through the class token")


class OptimConfig(Section, section="optim"):
    """AdamW, with a linear warm-up and a cosine descent."""

    lr: float = option(5e-4, "highest learning rate, reached after the warm-up", gt=0, le=10)
    weight_decay: float = option(0.05, "weight decay; none on biases, norms and tokens", ge=0, le=10)
    warmup_epochs: float = option(10, "length of the warm-up", unit="epochs", ge=0)
    warmup_lr: float = option(1e-6, "learning rate at the very start", ge=0)
    min_lr: float = option(1e-6, "learning rate at the very end", ge=0)
    schedule_by: Literal["epoch", "step"] = option("epoch", "change the rate once an epoch (released), or every step")
    clip: float = option(0.0, "clip the gradient's norm to this; 0 = no clipping", ge=0)


class TrainerConfig(Section, section="trainer"):
    """How long and on what to train, how often to validate and save."""

    epochs: int = option(300, "passes over the training clouds", unit="epochs", ge=1)
    min_steps: int = option(
        0,
        "take at least so many optimizer steps: on a small dataset epochs, warm-up and the pauses between validations "
        "are multiplied; 0 = count epochs only",
        unit="steps",
        ge=0,
    )
    step_ceiling: int = option(
        0,
        "take at most about so many optimizer steps: on a large dataset epochs, warm-up and the pauses between "
        "validations are divided, down to one epoch; 0 = count epochs only",
        unit="steps",
        ge=0,
    )
    max_steps: int = option(0, "stop after this many optimizer steps; 0 = no limit", unit="steps", ge=0)
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = option(
        "auto", "where to compute; auto = CUDA where there is one, else Apple's MPS (untested), else the CPU"
    )
    devices: int = option(1, "devices of a machine to share every step (on the CPU: processes)", ge=1, le=1024)
    nodes: int = option(
        0, "machines to share every step, each with as many devices; 0 = as many as the launcher has started on", ge=0
    )
    strategy: Literal["auto", "ddp", "fsdp"] = option(
        "auto",
        "how several devices share a model: ddp = each holds all of it; fsdp = its trained weights, gradients and "
        "moments are divided among them, for models too large for one; auto = ddp",
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "arithmetic of matrix products; on most CPUs bf16 is slower, and fp16 not possible"
    )
    compile: bool = option(
        False, "torch.compile for the computations of a step (a minute or more at the start; meant for CUDA)"
    )
    compile_mode: Literal["default", "reduce-overhead"] = option(
        "default", "reduce-overhead = CUDA graphs as well: for small batches, where starting kernels takes the time"
    )
    accumulate: int = option(1, "batches whose gradients make one optimizer step", unit="batches", ge=1)
    sync_batchnorm: bool = option(
        True, "batch norms take their statistics over all devices, as one device with the whole batch would"
    )
    validate_every: int = option(
        1, "validate every this many epochs, and after the last; 0 = never", unit="epochs", ge=0
    )
    log_every: int = option(10, "write a row of metrics.csv every this many steps", unit="steps", ge=1)
    save_every_steps: int = option(0, "save every this many steps; 0 = at the end of epochs only", unit="steps", ge=0)
    save_every_minutes: float = option(10.0, "save after this much time; 0 = never", unit="minutes", ge=0)
    fit_start: int = option(
        0,
        "data-dependent initialization: before the first step of pretraining, scale the layers to this many clouds; "
        "short trainings need it; 0 = initialize as released",
        unit="clouds",
        ge=0,
    )
    fast_dev_run: bool = option(False, "two steps and one validation batch, to see that everything fits together")

    @property
    def joined(self) -> bool:
        """Whether several processes train together. With one device on one machine a process is a run of its own,
        whatever a launcher has put into the environment."""
        return self.devices > 1 or self.nodes > 1

    @property
    def sharded(self) -> bool:
        """Whether processes divide the model. One alone has nothing to divide."""
        return self.joined and self.strategy == "fsdp"

    @model_validator(mode="after")
    def _check_strategy(self) -> Self:
        if self.strategy == "fsdp" and self.precision == "fp16":
            raise ConfigError("trainer.precision: fp16 is not possible with trainer.strategy=fsdp; use bf16")
        if self.strategy == "fsdp" and self.compile:
            raise ConfigError("trainer.compile: true is not possible with trainer.strategy=fsdp; use ddp")
        return self


class ProbeConfig(Section, section="probe"):
    """Stage II's validation (see trainer.validate_every): a linear SVM on frozen features."""

    root: Dataset = option("", "labelled dataset to probe on; empty = data.root")
    split: str = option("", "split that trains the SVM; empty = the training clouds")
    test_split: str = option("", "split that tests it; empty = data.val_split, so never the test set unless asked")
    batch_size: int = option(64, "clouds embedded at once", unit="clouds", ge=1)


class TrainingSettings(Settings):
    """Settings of every training command."""

    data: DataConfig = DataConfig()
    optim: OptimConfig = option(OptimConfig(), "AdamW and the learning rate")
    trainer: TrainerConfig = option(TrainerConfig(), "how long, on what, how often to validate and save")
    logger: list[Literal["csv", "tensorboard", "wandb", "mlflow", "trackio"]] = option(
        ["csv", "tensorboard"],
        "where numbers go: csv = metrics.csv, which every run writes; tensorboard also gets pictures; wandb, mlflow, "
        "trackio need packages (act3d[wandb] ...) and know their servers by their own environment variables",
    )
    out: Place = option(
        "runs/train", "run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, results.json"
    )
    seed: int = option(0, "seed of all randomness")
    resume: bool = option(False, "continue the run in `out` exactly where it was saved", exclude=True)

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        optim, trainer = self.optim, self.trainer
        if optim.warmup_epochs > trainer.epochs:
            long, whole = f"{optim.warmup_epochs:g}", trainer.epochs
            raise ConfigError(f"optim.warmup_epochs: {long} must be <= trainer.epochs ({whole})")
        for name in ("warmup_lr", "min_lr"):
            if getattr(optim, name) > optim.lr:
                raise ConfigError(f"optim.{name}: {getattr(optim, name):g} must be <= optim.lr ({optim.lr:g})")
        return self


def check_patches(section: Section, points: int) -> None:
    """Check that the patches a section asks for fit a cloud of so many points.

    Raises:
        ConfigError: names the key.
    """
    for name in ("patches", "patch_size"):
        if getattr(section, name) > points:
            raise ConfigError(f"{section.section}.{name}: {getattr(section, name)} must be <= data.points ({points})")

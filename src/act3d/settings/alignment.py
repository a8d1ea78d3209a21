"""Settings of `act3d align`: an encoder learns from the names of its shapes."""

from typing import Literal, Self

from pydantic import model_validator

from act3d.errors import ConfigError
from act3d.settings.data import PoolConfig
from act3d.settings.model import Section, option
from act3d.settings.places import Place, Weights
from act3d.settings.training import FreshEncoderConfig, OptimConfig, TrainerConfig, TrainingSettings, check_patches

PATCHES = 64  # of a cloud, from scratch


# Runs of before there were these settings: no memory, and contrast within the batch.
EARLIER = {"align.memory": 0, "align.examples": 0, "align.negatives": 0}


class TextConfig(Section, section="text"):
    """How names become texts (docs/alignment.md). Only `classes` reads the class label."""

    column: Literal["caption", "names", "folders", "classes"] = option(
        "caption",
        'what is read: "names" = the file\'s name; "folders" = the folders it lies in; "caption" = a caption or title '
        'where the dataset has one, else folders and name together; "classes" = the class label (class-supervised)',
    )
    clean: bool = option(
        True, "keep words only: no numbers, sizes, part numbers; false = captions stay as they are, for whole sentences"
    )


class TextHeadConfig(Section, section="align"):
    """The projection of clouds to where their texts are, and the contrast with these."""

    hidden: int = option(512, "channels between the two layers of the projection", unit="channels", ge=8)
    temperature: float = option(0.07, "temperature of the contrast at the start; it is learnt", gt=0)
    threshold: float = option(0.95, "texts whose cosine is above this are each other's positives", gt=0, le=1)
    negatives: int = option(
        8192,
        "the most training texts that a cloud is told apart from at every step, drawn anew where there are more; 0 = "
        "those of its batch, as CLIP does",
        unit="texts",
        ge=0,
        le=1 << 17,
    )
    memory: int = option(
        8192,
        "the most training texts whose vectors the model keeps, to place shapes nearer to them; 0 = none, as in ReCon",
        unit="texts",
        ge=0,
        le=1 << 17,
    )
    examples: int = option(
        16384,
        "the most training clouds that the model keeps beside these texts, drawn where there are more: a shape is "
        "placed nearer to what those like it are called; 0 = none, the texts alone",
        unit="clouds",
        ge=0,
        le=1 << 17,
    )


class AlignBesideConfig(TextHeadConfig):
    """Alignment with names beside a method of pretraining, in one run: name-supervised."""

    weight: float = option(
        0.0,
        "weight of the contrast of clouds with their names, beside the method's own loss; 0 = no names",
        ge=0,
        le=100,
    )


class AlignConfig(TextHeadConfig, FreshEncoderConfig):
    """The projection to the texts, and the encoder, whose size counts from scratch only."""

    patches: int = option(
        0, "patches of a cloud; 0 = as the checkpoint's, from scratch 64; weights fit any number", unit="patches", ge=0
    )
    patch_size: int = option(32, "points of a patch, from scratch", unit="points", ge=4)


class AlignSettings(TrainingSettings, command="align"):
    """Name-supervised: teach an encoder with the names of its shapes.

    The encoder and a projection learn to put every cloud near its text, and far from other texts, as the frozen MiniLM
    text Transformer places them; equal and near-equal texts count as the same. The result names shapes by any words
    (`act3d predict --labels`). Texts come from names, titles or captions, never from the class label; but a name can
    say the class, so results are called name-supervised. Held-out clouds tell how often the right text is found.
    """

    earlier = EARLIER

    data: PoolConfig = option(
        PoolConfig(batch_size=128, augment="scale_shift"), "clouds with names; labels are used to validate only"
    )
    checkpoint: Weights = option(
        "",
        "the encoder to start from: a run folder of `act3d pretrain`, a .safetensors, or a released .pth file; empty = "
        "from scratch",
    )
    text: TextConfig = option(TextConfig(), "how names become texts")
    align: AlignConfig = option(AlignConfig(), "the projection, and the encoder from scratch")
    optim: OptimConfig = option(
        OptimConfig(lr=1e-3, warmup_epochs=2, schedule_by="step"), "AdamW and the learning rate"
    )
    trainer: TrainerConfig = option(
        TrainerConfig(epochs=24, validate_every=4), "how long, on what, how often to validate and save"
    )
    out: Place = option(
        "runs/align", "run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, results.json"
    )

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if not self.checkpoint:
            fresh = self.align.model_copy(update={"patches": self.align.patches or PATCHES})
            check_patches(fresh, self.data.points)
        elif self.trainer.fit_start:
            raise ConfigError("trainer.fit_start: an encoder from a checkpoint has trained weights to keep; use 0")
        return self

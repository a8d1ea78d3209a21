"""Settings of classification: fine-tuning and few-shot tasks."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from act3d.errors import ConfigError
from act3d.settings.data import DataConfig, FoldData, check_disjoint
from act3d.settings.model import Section, Settings, option
from act3d.settings.places import Place, Weights
from act3d.settings.training import OptimConfig, TrainerConfig, TrainingSettings, TransferConfig, check_patches

Protocol = Literal["standard", "legacy"]
Select = Literal["last", "best"]

CHECKPOINT_HELP = (
    "the encoder to start from: a run folder of `act3d pretrain`, a .safetensors, or a released .pth file; empty = "
    "from scratch"
)
PROTOCOL_HELP = (
    '"standard" uses the test set once, after training; "legacy" selects the best epoch on it, as most published '
    "numbers do"
)


class ClassifierConfig(TransferConfig, section="classifier"):
    """The classifier. Width, depth and heads are used from scratch only; a checkpoint has its own."""

    patches: int = option(64, "patches of a cloud; may differ from pretraining", unit="patches", ge=1)
    patch_size: int = option(32, "points of a patch", unit="points", ge=4)
    head: Literal["auto", "words", "mlp3", "mlp2", "linear"] = option(
        "auto",
        "the head: words = from a checkpoint that learnt names: classes begin where their words are; else its layers: "
        "three with batch norms (mlp3), two (mlp2, Point-BERT's), or one (linear); auto = linear for the transfers "
        "linear, lora and adapter, words for the transfer full from names, else mlp3",
    )
    dropout: float = option(0.5, "dropout in a head of several layers", ge=0, lt=1)
    label_smoothing: float = option(0.0, "share of every label that is spread over all classes", ge=0, lt=1)
    resample: bool = option(
        True, "find the farthest points again every step (released); false = once at the start, much faster on CPUs"
    )


class TransferSettings(TrainingSettings):
    """Settings of every command that trains on labels, from a checkpoint or from scratch."""

    checkpoint: Weights = option("", CHECKPOINT_HELP)
    protocol: Protocol = option("standard", PROTOCOL_HELP)
    test_split: str = option("test", "split of the dataset to test on")

    @model_validator(mode="after")
    def _check_batch_size(self) -> Self:
        if self.data.batch_size < 2:
            raise ConfigError("data.batch_size: 1 is too few; batch norms need two clouds")
        return self

    @model_validator(mode="after")
    def _check_start_and_splits(self) -> Self:
        check_disjoint(self.data.split, self.test_split, "test_split")
        if self.trainer.fit_start:
            raise ConfigError(
                "trainer.fit_start: only act3d autoencode and act3d pretrain have data-dependent initialization; use 0"
            )
        return self


class FinetuneSettings(TransferSettings, command="finetune"):
    """Fine-tune a classifier.

    The encoder of a pretrained student gets a head and is trained on the classes of a dataset. Every step takes a
    random choice of each cloud's farthest points; testing takes the farthest points. The result says how it was
    obtained: protocol, augmentation, data fingerprint.
    """

    data: DataConfig = option(
        DataConfig(batch_size=32, augment="scale_shift"),
        'labelled clouds; `val_split` and `val_fraction` say what is held out when select is "best"',
    )
    classifier: ClassifierConfig = option(
        ClassifierConfig(), "what is trained, how clouds are cut, and the encoder's size from scratch"
    )
    optim: OptimConfig = option(
        OptimConfig(lr=5e-4, weight_decay=0.05, clip=10),
        "AdamW and the learning rate; frozen encoders work best at twice the rate of full fine-tuning",
    )
    select: Select = option(
        "last", 'under "standard", report the "last" epoch, or the "best" on a part held out of training'
    )
    out: Place = option(
        "runs/finetune", "run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, results.json"
    )

    @model_validator(mode="after")
    def _check_patches(self) -> Self:
        check_patches(self.classifier, self.data.points)
        return self


class FoldsConfig(Section, section="tasks"):
    """Few-shot tasks: their settings, and how they are drawn if they are not in files."""

    ways: list[Annotated[int, Field(ge=2)]] = option([5, 10], "classes of a task; every way is run with every shot")
    shots: list[Annotated[int, Field(ge=1)]] = option([10, 20], "training shapes of a class")
    folds: list[Annotated[int, Field(ge=0)]] = option(
        list(range(10)), "how many folds, or their numbers as in 0,3,7; each has other clouds", counted=True
    )
    queries: int = option(20, "test shapes of a class, when folds are drawn here", ge=1)
    draw_seed: int = option(0, "seed of the folds drawn here, whatever else is random", ge=0)

    @field_validator("folds", mode="before")
    @classmethod
    def _count_folds(cls, folds: Any) -> Any:
        """2 means two folds, 0 and 1; [2] is the fold of that number."""
        if type(folds) is not int:
            return folds
        if folds < 1:
            raise ConfigError(f"tasks.folds: {folds} is not allowed; it must be how many, >= 1, or numbers as in 0,3")
        return list(range(folds))


class FewShotConfig(FoldsConfig):
    """Which few-shot tasks to run, and whether to keep their weights."""

    keep_weights: bool = option(False, "keep the weights of every fold")


class FewshotSettings(TransferSettings, command="fewshot"):
    """Learn classes from a few shapes of each.

    For every setting (5- and 10-way, 10- and 20-shot) and every fold a classifier is trained on a handful of shapes
    and tested on others: mean and standard deviation over folds are the result. Folds come from the released pickles
    of ModelNet40, or are drawn from any labelled dataset with enough classes. A finished fold is kept: --resume
    continues with the next.
    """

    data: DataConfig = option(
        DataConfig(batch_size=32, augment="scale_shift"),
        "folds in files (the released `ModelNetFewshot`, or what `act3d draw-folds` wrote), or labelled clouds to draw "
        "folds from",
    )
    classifier: ClassifierConfig = option(
        ClassifierConfig(), "what is trained, how clouds are cut, and the encoder's size from scratch"
    )
    optim: OptimConfig = option(OptimConfig(lr=5e-4, weight_decay=0.05, clip=10), "AdamW and the learning rate")
    trainer: TrainerConfig = option(TrainerConfig(epochs=150), "epochs and precision")
    tasks: FewShotConfig = option(FewShotConfig(), "which settings and folds")
    protocol: Protocol = option(
        "standard", '"standard" tests the last epoch; "legacy" reports the best epoch on the test shapes'
    )
    test_split: str = option("test", "split that test shapes are drawn from")
    out: Place = option("runs/fewshot", "folder: config.yaml, folds/*.json, results.json")
    seed: int = option(0, "seed of training")
    resume: bool = option(False, "continue with the folds in `out` that are not finished", exclude=True)

    @model_validator(mode="after")
    def _check_patches(self) -> Self:
        check_patches(self.classifier, self.data.points)
        return self


class DrawFoldsSettings(Settings, command="draw-folds"):
    """Draw few-shot folds and write them into files.

    Writes {way}way_{shot}shot/{fold}.pkl as the released folds of ModelNet40 are laid out, from ModelNet40 or any
    labelled dataset with enough classes, with all stored points. What is drawn depends on the dataset, tasks.draw_seed
    and the fold's number only, so an existing fold is kept. `act3d fewshot --data.root OUT` runs
    them; they are the folds that it would draw by itself.
    """

    data: FoldData = option(FoldData(), "the labelled clouds")
    tasks: FoldsConfig = option(FoldsConfig(), "settings, numbers and seed of the folds")
    out: Place = option("data/ModelNetFewshot", "folder to write to")

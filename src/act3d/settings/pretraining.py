"""Settings of both stages of pretraining: `act3d autoencode` and `act3d pretrain`."""

from typing import Literal, NamedTuple, Self

from pydantic import model_validator

from act3d.errors import ConfigError
from act3d.settings.alignment import EARLIER, AlignBesideConfig, TextConfig
from act3d.settings.data import PoolConfig, check_xyz
from act3d.settings.model import Section, option
from act3d.settings.places import Existing, Place
from act3d.settings.training import (
    AutoencoderConfig,
    BackboneConfig,
    LossConfig,
    MaskConfig,
    OptimConfig,
    ProbeConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
    TrainerConfig,
    TrainingSettings,
    check_patches,
)


class AutoencodeSettings(TrainingSettings, command="autoencode"):
    """Stage I: turn a pretrained Transformer into a 3D teacher.

    An autoencoder learns to reconstruct patches of point clouds from discrete codes, through the frozen Transformer and
    trainable prompts. `act3d pretrain` learns its features. Held-out clouds are reconstructed after every epoch and
    scored by F-score and Chamfer distances (times 1000), per category; the best weights by Chamfer L1 are kept.
    """

    data: PoolConfig = option(PoolConfig(), "the clouds to learn from")
    autoencoder: AutoencoderConfig = option(AutoencoderConfig(), "the autoencoder around the Transformer")
    teacher: BackboneConfig = option(BackboneConfig(), "the pretrained Transformer and its prompts")
    schedule: ScheduleConfig = option(ScheduleConfig(), "temperature and KL weight by step")
    optim: OptimConfig = option(OptimConfig(lr=5e-4, weight_decay=5e-4, min_lr=1e-7), "AdamW and the learning rate")
    out: Place = option(
        "runs/autoencode", "run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, results.json"
    )

    @model_validator(mode="after")
    def _check_patches(self) -> Self:
        check_patches(self.autoencoder, self.data.points)
        check_xyz(self.data, "stage I", "its codes are rebuilt as places")
        return self


class PointMaeConfig(Section, section="point_mae"):
    """The patches of Point-MAE, which has no teacher to take them from."""

    patches: int = option(64, "patches of a cloud", unit="patches", ge=2)
    patch_size: int = option(32, "points of a patch", unit="points", ge=4)


class PointBertConfig(Section, section="point_bert"):
    """The Point-BERT-style student: masks, contrast and mixed clouds."""

    mask_low: float = option(0.25, "smallest share of a cloud's patches that is hidden", gt=0, lt=1)
    mask_high: float = option(0.45, "largest share; every cloud gets a random one", gt=0, lt=1)
    contrast: bool = option(True, "contrast clouds with earlier ones (MoCo)")
    mix: bool = option(True, "learn from mixtures of two clouds as well")
    momentum: float = option(0.999, "momentum of the copy that makes the keys of the contrast", ge=0, le=1)
    temperature: float = option(0.07, "temperature of the contrast", gt=0)
    queue: int = option(16384, "earlier clouds that are contrasted", unit="clouds", ge=1)
    contrast_width: int = option(512, "width of the contrasted vectors", unit="channels", ge=2)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.mask_low > self.mask_high:
            raise ConfigError(
                f"point_bert.mask_low: {self.mask_low} must be <= point_bert.mask_high ({self.mask_high})"
            )
        return self


class ReconConfig(Section, section="recon"):
    """ReCon: what its global tokens learn, and its patches where no teacher is given to take them from."""

    patches: int = option(64, "patches of a cloud", unit="patches", ge=2)
    patch_size: int = option(32, "points of a patch", unit="points", ge=4)
    names: bool = option(True, "the text token learns the texts of clouds (see `text`): name-supervised")
    contrast: bool = option(False, "the class token tells clouds of different texts apart; off in the release")
    image_file: Existing = option(
        "",
        "for the image token: features of one image a cloud by the cloud's name, an .npz or .parquet as `act3d embed` "
        "writes them; empty = none",
    )
    image_columns: str = option(
        "", 'the same in columns of the dataset\'s table: their common beginning, as "image_" of image_0, image_1 ...'
    )

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if self.image_file and self.image_columns:
            raise ConfigError("recon.image_columns: give image_file or image_columns, not both")
        if not (self.names or self.image_file or self.image_columns):
            raise ConfigError(
                "recon.names: false leaves the tokens nothing to learn; give recon.image_file, or use true"
            )
        if self.contrast and not self.names:
            raise ConfigError("recon.contrast: true needs recon.names=true; equal texts are the positives")
        return self


NO_TEACHER = "teacher.checkpoint: missing; give stage I's weights or run folder, as act3d autoencode made it"


class MethodRecipe(NamedTuple):
    """Where a method's recipe is: module and class; and whether it needs stage I's result, or can use it."""

    module: str
    name: str
    teacher: bool = False
    optional_teacher: bool = False


Method = Literal["act", "point_mae", "point_bert", "recon"]
METHODS: dict[Method, MethodRecipe] = {
    "act": MethodRecipe("act3d.recipes.act", "ActPretraining", teacher=True),
    "point_mae": MethodRecipe("act3d.recipes.point_mae", "PointMAEPretraining"),
    "point_bert": MethodRecipe("act3d.recipes.point_bert", "PointBERTPretraining", teacher=True),
    "recon": MethodRecipe("act3d.recipes.recon", "ReconPretraining", optional_teacher=True),
}


_XYZ = {  # methods that take no channels, and why
    "point_bert": "its contrast and mixed clouds are those of the release",
    "recon": "its encoder with three tokens is that of the release",
}


class PretrainSettings(TrainingSettings, command="pretrain"):
    """Stage II: pretrain a 3D Transformer with the teacher's features.

    The student sees a part of every cloud's patches and predicts the teacher's features at the hidden ones. Its
    encoder is what fine-tuning, embedding and search start from. Where the data has labels, a
    linear SVM on its frozen features validates it every few epochs.
    """

    earlier = EARLIER

    data: PoolConfig = option(
        PoolConfig(batch_size=128, augment="scale_shift"),
        "the clouds to learn from; labels are not used for training",
    )
    teacher: TeacherConfig = option(TeacherConfig(), "stage I's autoencoder")
    student: StudentConfig = option(StudentConfig(), "the 3D Transformer that is pretrained")
    mask: MaskConfig = option(MaskConfig(), "the patches that are hidden from the student")
    loss: LossConfig = option(LossConfig(), "how predictions are compared with the teacher's features")
    optim: OptimConfig = option(OptimConfig(lr=1e-3), "AdamW and the learning rate")
    trainer: TrainerConfig = option(
        TrainerConfig(validate_every=10), "how long, on what, how often to validate and save"
    )
    probe: ProbeConfig = option(ProbeConfig(), "the linear SVM that validates")
    method: Method = option(
        "act",
        '"act"; "recon" (hidden points, or the teacher\'s features, and tokens that learn names and images); or a '
        'baseline with the same encoder: "point_mae" (no teacher: reconstructs hidden points) or "point_bert" '
        "(predicts codes of hidden patches)",
    )
    point_mae: PointMaeConfig = option(PointMaeConfig(), "patches of Point-MAE")
    point_bert: PointBertConfig = option(
        PointBertConfig(),
        "masks and contrast of the Point-BERT-style student; `mask` and `loss` are not used by it",
    )
    recon: ReconConfig = option(ReconConfig(), "tokens of ReCon, and its patches without a teacher")
    align: AlignBesideConfig = option(
        AlignBesideConfig(), "names to learn from beside the method (docs/alignment.md); weight 0 = none"
    )
    text: TextConfig = option(TextConfig(), "how names become texts, where align.weight is above 0")
    out: Place = option(
        "runs/pretrain",
        "run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, teacher.safetensors, results.json",
    )

    def check_places(self) -> None:
        """Check that the teacher is there as well; a resumed run has its own copy of it."""
        if METHODS[self.method].teacher and not self.resume and not self.teacher.checkpoint:
            raise ConfigError(NO_TEACHER)
        super().check_places()

    @model_validator(mode="after")
    def _check_student(self) -> Self:
        student = self.student
        if self.method != "act" and self.teacher.mode == "released":
            raise ConfigError(f"teacher.mode: released is for method act; {self.method} needs eval")
        if self.method == "recon" and self.align.weight:
            raise ConfigError("align.weight: ReCon's text token learns names by itself (recon.names); use 0")
        if self.teacher.cache and self.method != "act":
            raise ConfigError(f"teacher.cache: true is for method act; {self.method} does not learn features")
        if self.teacher.cache and self.data.resident == "always":
            raise ConfigError("data.resident: always is not possible with teacher.cache; use auto")
        if self.method in _XYZ and student.checkpoint:
            raise ConfigError(f'student.checkpoint: method {self.method} starts from fresh weights; use ""')
        if self.method in _XYZ:
            check_xyz(self.data, f"method {self.method}", _XYZ[self.method])
        elif self.teacher.cache:
            check_xyz(self.data, "teacher.cache", "the views that it keeps are places")
        if self.loss.cls_loss:
            if not self.mask.ratio:
                raise ConfigError("loss.cls_loss: true needs a decoder, so mask.ratio > 0")
            if student.shallow_block > student.depth and not student.checkpoint:
                raise ConfigError(
                    f"student.shallow_block: {student.shallow_block} must be <= student.depth ({student.depth})"
                )
        own = getattr(self, self.method, None)  # the method's section; others cut clouds as their teacher does
        cut_by_teacher = METHODS[self.method].optional_teacher and self.teacher.checkpoint
        if isinstance(own, Section) and hasattr(own, "patches") and not cut_by_teacher:
            check_patches(own, self.data.points)
        return self

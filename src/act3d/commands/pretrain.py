"""`act3d pretrain`: stage II."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from act3d.engine.run_folder import RunFolder, RunResult
from act3d.errors import ConfigError
from act3d.recipes.common import checkpoint_meta, finished_run, shortened
from act3d.settings.tasks import PointBertConfig, PointMaeConfig
from act3d.settings.training import (
    DataConfig,
    LossConfig,
    MaskConfig,
    OptimConfig,
    ProbeConfig,
    StudentConfig,
    TeacherConfig,
    TrainerConfig,
    validate,
)

if TYPE_CHECKING:
    from act3d.checkpoints import Checkpoint
    from act3d.engine.clouds import Clouds
    from act3d.models.autoencoder import Autoencoder
    from act3d.recipes.pretraining import ProbeClouds, ProbedModule

DATA = DataConfig(batch_size=128, augment="scale_shift")
TEACHER = TeacherConfig()
STUDENT = StudentConfig()
MASK = MaskConfig()
LOSS = LossConfig()
OPTIM = OptimConfig(lr=1e-3)
TRAINER = TrainerConfig(validate_every=10)
PROBE = ProbeConfig()
POINT_MAE = PointMaeConfig()
POINT_BERT = PointBertConfig()


def pretrain(
    data: DataConfig = DATA,
    teacher: TeacherConfig = TEACHER,
    student: StudentConfig = STUDENT,
    mask: MaskConfig = MASK,
    loss: LossConfig = LOSS,
    optim: OptimConfig = OPTIM,
    trainer: TrainerConfig = TRAINER,
    probe: ProbeConfig = PROBE,
    method: Literal["act", "point_mae", "point_bert"] = "act",
    point_mae: PointMaeConfig = POINT_MAE,
    point_bert: PointBertConfig = POINT_BERT,
    out: str = "runs/pretrain",
    seed: int = 0,
    resume: bool = False,
) -> RunResult:
    """Stage II: teach a 3D Transformer.

    The student sees a part of every cloud's patches and predicts the teacher's features at the hidden ones. Its
    encoder is what fine-tuning, embedding and search start from. Every so many epochs a linear SVM on its frozen
    features tells how good they are, where the data has labels.

    Args:
        data: the clouds to learn from; labels are not used for training.
        teacher: stage I's result, to learn from.
        student: the 3D Transformer that is taught.
        mask: what the student does not see.
        loss: how predictions are compared with the teacher's features.
        optim: AdamW and the learning rate.
        trainer: how long, on what, how often to look and save.
        probe: the linear SVM that validates.
        method: "act", or a baseline with the same encoder: "point_mae" (no teacher: rebuilds hidden points) or
            "point_bert" (guesses the teacher's codes of hidden patches).
        point_mae: patches of Point-MAE.
        point_bert: masks and contrast of the Point-BERT-style student; `mask` and `loss` are not used by it.
        out: run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, teacher.safetensors, results.json.
        seed: seed of all randomness.
        resume: go on with the run in `out` exactly where it was saved.

    Returns:
        Final metrics and where the weights lie.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        CheckpointError: the teacher's file is missing, damaged, or no autoencoder.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    settings = {
        "out": out,
        "seed": seed,
        "data": data,
        "teacher": teacher,
        "student": student,
        "mask": mask,
        "loss": loss,
        "optim": optim,
        "trainer": trainer,
        "probe": probe,
        "method": method,
        "point_mae": point_mae,
        "point_bert": point_bert,
    }
    validate(settings)
    check_method(settings)
    folder = RunFolder(out)
    folder.check(resume)
    if resume and (result := finished_run(folder, trainer)):
        return result
    from act3d.engine.clouds import open_clouds
    from act3d.engine.fit import check_machine, run
    from act3d.evaluation.protocol import protocol_of

    check_machine(trainer)
    build = {"act": build_act, "point_mae": build_point_mae, "point_bert": build_point_bert}[method]
    source = None if method == "point_mae" else find_teacher(folder, teacher, data, resume)
    clouds = open_clouds(data, seed)
    module = build(settings, source, probe_clouds(probe, data, clouds, seed))
    protocol = protocol_of(probe.test_split or data.val_split)
    meta = checkpoint_meta(clouds.train, "pretrain", seed, protocol)
    return run("pretrain", module, clouds.train, folder, settings, meta, protocol, resume)


def check_method(settings: dict[str, Any]) -> None:
    """Check what only some methods need.

    Raises:
        ConfigError: names the key, its value and what is allowed.
    """
    data, mae, bert = settings["data"], settings["point_mae"], settings["point_bert"]
    if settings["method"] == "point_mae":
        for name in ("patches", "patch_size"):
            if getattr(mae, name) > data.points:
                raise ConfigError(f"point_mae.{name}: {getattr(mae, name)} must be <= data.points ({data.points})")
    if bert.mask_low > bert.mask_high:
        raise ConfigError(f"point_bert.mask_low: {bert.mask_low} must be <= point_bert.mask_high ({bert.mask_high})")


def find_teacher(
    folder: RunFolder, teacher: TeacherConfig, data: DataConfig, resume: bool
) -> "Checkpoint[Autoencoder]":
    """Return the teacher; on resume, the run's own copy of it."""
    if resume and folder.teacher.exists():
        return load_teacher(folder.teacher, data.points)
    if not teacher.checkpoint:
        raise ConfigError(
            "teacher.checkpoint: missing; give stage I's weights or run folder, as act3d autoencode made it"
        )
    return load_teacher(Path(teacher.checkpoint), data.points)


def encoder_and_decoder(student: StudentConfig) -> dict[str, Any]:
    """Return the sizes that every student with a decoder takes, by their argument's name."""
    names = ("width", "depth", "heads", "drop_path", "decoder_depth", "decoder_heads")
    return {name: getattr(student, name) for name in names}


def module_settings(settings: dict[str, Any]) -> tuple[Any, ...]:
    """Return the arguments that every training module ends with."""
    return settings["data"], settings["optim"], shortened(settings["trainer"]), settings["seed"]


def build_act(settings: dict[str, Any], source: Any, probe: "ProbeClouds | None") -> "ProbedModule":
    """Return stage II of ACT at its beginning."""
    import torch

    from act3d.models.student import Student
    from act3d.recipes.act import StudentModule

    student, loss = settings["student"], settings["loss"]
    torch.manual_seed(settings["seed"])  # initial weights
    model = Student(
        patches=source.model.patches,
        patch_size=source.model.patch_size,
        **encoder_and_decoder(student),
        teacher_width=source.model.teacher_width,
        cls_loss=loss.cls_loss,
        shallow_block=student.shallow_block,
        embed_visible_only=student.embed_visible_only,
    )
    released = settings["teacher"].mode == "released"
    module = StudentModule(model, source.model, released, settings["mask"], loss, probe, *module_settings(settings))
    module.teacher_meta = source.meta
    return module


def build_point_mae(settings: dict[str, Any], source: Any, probe: "ProbeClouds | None") -> "ProbedModule":
    """Return the Point-MAE baseline at its beginning."""
    import torch

    from act3d.models.point_mae import PointMAE
    from act3d.recipes.baselines import PointMAEModule

    student, cut = settings["student"], settings["point_mae"]
    torch.manual_seed(settings["seed"])  # initial weights
    model = PointMAE(
        patches=cut.patches,
        patch_size=cut.patch_size,
        **encoder_and_decoder(student),
        embed_visible_only=student.embed_visible_only,
    )
    return PointMAEModule(model, settings["mask"], probe, *module_settings(settings))


def build_point_bert(settings: dict[str, Any], source: Any, probe: "ProbeClouds | None") -> "ProbedModule":
    """Return the Point-BERT-style baseline at its beginning; its patch embedding starts as the tokenizer's."""
    import torch

    from act3d.models.point_bert import PointBERT
    from act3d.recipes.baselines import PointBERTModule

    student, config = settings["student"], settings["point_bert"]
    torch.manual_seed(settings["seed"])  # initial weights
    model = PointBERT(
        patches=source.model.patches,
        patch_size=source.model.patch_size,
        width=student.width,
        depth=student.depth,
        heads=student.heads,
        drop_path=student.drop_path,
        embed_width=None if source.model.width == student.width else source.model.width,
        codes=source.model.codes,
        contrast_width=config.contrast_width,
    )
    model.encoder.patch_embedding.load_state_dict(source.model.patch_embedding.state_dict())
    module = PointBERTModule(model, source.model, config, probe, *module_settings(settings))
    module.tokenizer_meta = source.meta
    return module


def load_teacher(path: Path, points: int) -> "Checkpoint[Autoencoder]":
    """Return the teacher of a file or run folder; on resume that is the run's own copy.

    Raises:
        CheckpointError: no such file, damaged, or not an autoencoder.
        ConfigError: it cuts more patches than a cloud has points.
    """
    from act3d import checkpoints
    from act3d.models.autoencoder import Autoencoder

    found = checkpoints.load(path, expect=Autoencoder)
    model = found.model
    if max(model.patches, model.patch_size) > points:
        raise ConfigError(
            f"data.points: {points} is too few for the teacher's {model.patches} patches of {model.patch_size} points"
        )
    return found


def probe_clouds(probe: ProbeConfig, data: DataConfig, clouds: "Clouds", seed: int) -> "ProbeClouds | None":
    """Return the clouds of the linear probe, or None when nothing is held out or there are no labels to probe."""
    from act3d.engine.clouds import open_split
    from act3d.recipes.pretraining import ProbeClouds

    train, test = clouds.train, clouds.held_out
    if probe.split or probe.root:
        train = open_split(data, seed, probe.split or "train", probe.root)
    if probe.test_split:
        test = open_split(data, seed, probe.test_split, probe.root)
    elif probe.root:
        raise ConfigError("probe.test_split: missing; with probe.root, name the split that judges")
    if test is None or not (test.labels >= 0).any() or len(set(train.labels[train.labels >= 0].tolist())) < 2:
        return None
    return ProbeClouds(train, test, probe.batch_size)

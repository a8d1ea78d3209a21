"""`act3d pretrain`: stage II."""

from pathlib import Path
from typing import TYPE_CHECKING

from act3d.commands.common import checkpoint_meta, finished_run, protocol_of, shortened
from act3d.config import (
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
from act3d.errors import ConfigError
from act3d.training.run_folder import RunFolder, RunResult

if TYPE_CHECKING:
    from act3d.models.autoencoder import Autoencoder
    from act3d.training.clouds import Clouds
    from act3d.training.student import ProbeClouds

DATA = DataConfig(batch_size=128, augment="scale_shift")
TEACHER = TeacherConfig()
STUDENT = StudentConfig()
MASK = MaskConfig()
LOSS = LossConfig()
OPTIM = OptimConfig(lr=1e-3)
TRAINER = TrainerConfig(validate_every=10)
PROBE = ProbeConfig()


def pretrain(
    data: DataConfig = DATA,
    teacher: TeacherConfig = TEACHER,
    student: StudentConfig = STUDENT,
    mask: MaskConfig = MASK,
    loss: LossConfig = LOSS,
    optim: OptimConfig = OPTIM,
    trainer: TrainerConfig = TRAINER,
    probe: ProbeConfig = PROBE,
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
    }
    validate(settings)
    folder = RunFolder(out)
    folder.check(resume)
    if resume and (result := finished_run(folder, trainer)):
        return result
    own_copy = resume and folder.teacher.exists()
    if not teacher.checkpoint and not own_copy:
        raise ConfigError(
            "teacher.checkpoint: missing; give stage I's weights or run folder, as act3d autoencode made it"
        )

    import torch

    from act3d.models.student import Student
    from act3d.training.clouds import open_clouds
    from act3d.training.fit import check_machine, run
    from act3d.training.student import StudentModule

    check_machine(trainer)
    clouds = open_clouds(data, seed)
    source = load_teacher(folder.teacher if own_copy else Path(teacher.checkpoint), data.points)
    torch.manual_seed(seed)  # initial weights
    model = Student(
        patches=source.patches,
        patch_size=source.patch_size,
        width=student.width,
        depth=student.depth,
        heads=student.heads,
        drop_path=student.drop_path,
        decoder_depth=student.decoder_depth,
        decoder_heads=student.decoder_heads,
        teacher_width=source.teacher_width,
        cls_loss=loss.cls_loss,
        shallow_block=student.shallow_block,
        embed_visible_only=student.embed_visible_only,
    )
    module = StudentModule(
        model,
        source,
        teacher.mode == "released",
        mask,
        loss,
        probe_clouds(probe, data, clouds, seed),
        data,
        optim,
        shortened(trainer),
        seed,
    )
    protocol = protocol_of(probe.test_split or data.val_split)
    meta = checkpoint_meta(clouds.train, "pretrain", seed, protocol)
    return run("pretrain", module, clouds.train, folder, settings, meta, protocol, resume)


def load_teacher(path: Path, points: int) -> "Autoencoder":
    """Return the teacher of a file or run folder; on resume that is the run's own copy.

    Raises:
        CheckpointError: no such file, damaged, or not an autoencoder.
        ConfigError: it cuts more patches than a cloud has points.
    """
    from act3d import checkpoints
    from act3d.errors import CheckpointError
    from act3d.models.autoencoder import Autoencoder

    model = checkpoints.load(path)
    if not isinstance(model, Autoencoder):
        raise CheckpointError(f"teacher.checkpoint: {path} holds a {type(model).__name__}, not stage I's autoencoder")
    if max(model.patches, model.patch_size) > points:
        raise ConfigError(
            f"data.points: {points} is too few for the teacher's {model.patches} patches of {model.patch_size} points"
        )
    return model


def probe_clouds(probe: ProbeConfig, data: DataConfig, clouds: "Clouds", seed: int) -> "ProbeClouds | None":
    """Return the clouds of the linear probe, or None when nothing is held out or there are no labels to probe."""
    from act3d.training.clouds import open_split
    from act3d.training.student import ProbeClouds

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

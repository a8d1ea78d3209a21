"""`act3d pretrain`: stage II."""

from typing import Any, Literal

from act3d.engine.run_folder import RunFolder, RunResult, finished_run
from act3d.errors import ConfigError
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

    from types import SimpleNamespace

    from act3d.engine.loop import train
    from act3d.engine.machine import check_machine
    from act3d.recipes.pretraining import build

    check_machine(trainer)
    return folder.result(train(build(SimpleNamespace(**settings), folder, resume), folder, resume))


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

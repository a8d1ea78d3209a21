"""`act3d autoencode`: stage I."""

from act3d.engine.run_folder import RunFolder, RunResult, finished_run
from act3d.settings.training import (
    AutoencoderConfig,
    BackboneConfig,
    DataConfig,
    OptimConfig,
    ScheduleConfig,
    TrainerConfig,
    validate,
)

DATA = DataConfig()
AUTOENCODER = AutoencoderConfig()
TEACHER = BackboneConfig()
SCHEDULE = ScheduleConfig()
OPTIM = OptimConfig(lr=5e-4, weight_decay=5e-4, min_lr=1e-7)
TRAINER = TrainerConfig()


def autoencode(
    data: DataConfig = DATA,
    autoencoder: AutoencoderConfig = AUTOENCODER,
    teacher: BackboneConfig = TEACHER,
    schedule: ScheduleConfig = SCHEDULE,
    optim: OptimConfig = OPTIM,
    trainer: TrainerConfig = TRAINER,
    out: str = "runs/autoencode",
    seed: int = 0,
    resume: bool = False,
) -> RunResult:
    """Stage I: turn a pretrained Transformer into a 3D teacher.

    An autoencoder learns to rebuild patches of point clouds from discrete codes, through the frozen Transformer and
    trainable prompts. Its features are what `act3d pretrain` teaches. Held-out clouds are rebuilt after every epoch
    and scored by F-score and Chamfer distances (times 1000), per category; the best weights by Chamfer L1 are kept.

    Args:
        data: the clouds to learn from.
        autoencoder: the autoencoder around the Transformer.
        teacher: the pretrained Transformer and its prompts.
        schedule: temperature and KL weight by step.
        optim: AdamW and the learning rate.
        trainer: how long, on what, how often to look and save.
        out: run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, results.json.
        seed: seed of all randomness.
        resume: go on with the run in `out` exactly where it was saved.

    Returns:
        Final metrics and where the weights lie.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    settings = {
        "out": out,
        "seed": seed,
        "data": data,
        "autoencoder": autoencoder,
        "teacher": teacher,
        "schedule": schedule,
        "optim": optim,
        "trainer": trainer,
    }
    validate(settings)
    folder = RunFolder(out)
    folder.check(resume)
    if resume and (result := finished_run(folder, trainer)):
        return result

    from types import SimpleNamespace

    from act3d.engine.loop import train
    from act3d.engine.machine import check_machine
    from act3d.recipes.autoencoder import AutoencoderTraining

    check_machine(trainer)
    return folder.result(train(AutoencoderTraining.build(SimpleNamespace(**settings)), folder, resume))

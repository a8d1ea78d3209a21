"""`act3d finetune`: a pretrained encoder, or a fresh one, becomes a classifier."""

from typing import Any

from act3d.engine.run_folder import RunFolder, RunResult, finished_run
from act3d.settings.tasks import ClassifierConfig, Protocol, Select, validate_classifier
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig, validate

DATA = DataConfig(batch_size=32, augment="scale_shift")
CLASSIFIER = ClassifierConfig()
OPTIM = OptimConfig(lr=5e-4, weight_decay=0.05, clip=10)
TRAINER = TrainerConfig()


def finetune(
    checkpoint: str = "",
    data: DataConfig = DATA,
    classifier: ClassifierConfig = CLASSIFIER,
    optim: OptimConfig = OPTIM,
    trainer: TrainerConfig = TRAINER,
    protocol: Protocol = "standard",
    select: Select = "last",
    test_split: str = "test",
    out: str = "runs/finetune",
    seed: int = 0,
    resume: bool = False,
) -> RunResult:
    """Fine-tune a classifier.

    The encoder of a pretrained student gets a head and learns to tell the classes of a dataset. Every step sees a
    random choice of each cloud's farthest points; the test set is seen by its farthest points. How the result is
    arrived at stands in it: protocol, augmentation, data fingerprint.

    Args:
        checkpoint: the encoder to start from: a run folder of `act3d pretrain`, a .safetensors, or a released .pth
            file; empty = from scratch.
        data: labelled clouds; `val_split` and `val_fraction` say what is held out when select is "best".
        classifier: what trains, how clouds are cut, and the encoder's size from scratch.
        optim: AdamW and the learning rate; frozen encoders like twice the rate of full fine-tuning.
        trainer: how long, on what, how often to look and save.
        protocol: "standard" looks at the test set once, after training; "legacy" picks the best epoch on it, as most
            published numbers do.
        select: under "standard", report the "last" epoch, or the "best" on a part held out of training.
        test_split: split of the dataset that judges.
        out: run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, results.json.
        seed: seed of all randomness.
        resume: go on with the run in `out` exactly where it was saved.

    Returns:
        Test metrics (oa, macc, per_class, confusion) and where the weights lie.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        CheckpointError: the checkpoint is missing, damaged, or has no point encoder.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    settings: dict[str, Any] = {
        "out": out,
        "seed": seed,
        "checkpoint": checkpoint,
        "data": data,
        "classifier": classifier,
        "optim": optim,
        "trainer": trainer,
        "protocol": protocol,
        "select": select,
        "test_split": test_split,
    }
    validate(settings)
    validate_classifier(settings)
    folder = RunFolder(out)
    folder.check(resume)
    if resume and (result := finished_run(folder, trainer)):
        return result

    from types import SimpleNamespace

    from act3d.engine.loop import train
    from act3d.engine.machine import check_machine
    from act3d.recipes.classifier import ClassifierTraining

    check_machine(trainer)
    recipe = ClassifierTraining.build(SimpleNamespace(**settings), folder, resume)
    result = folder.result(train(recipe, folder, resume))
    test = recipe.trio.test
    print_result(result, test.name, len(test), recipe.facts["protocol_name"])
    return result


def print_result(result: RunResult, dataset: str, clouds: int, how: str) -> None:
    """Print the line that a run ends with."""
    if "oa" in result.metrics:
        m = result.metrics
        print(f"{dataset}, {clouds} test clouds, {how}: OA {m['oa']:.2f} %, mAcc {m['macc']:.2f} %  ->  {result.out}")

"""`act3d finetune`: a pretrained encoder, or a fresh one, becomes a classifier."""

import json
import sys
from typing import TYPE_CHECKING, Any

from act3d.engine.run_folder import RunFolder, RunResult
from act3d.files import write_json
from act3d.recipes.common import checkpoint_meta, finished_run, shortened
from act3d.settings.tasks import ClassifierConfig, Protocol, Select, validate_classifier
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig, validate

if TYPE_CHECKING:
    from act3d.models.classifier import Classifier

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

    from act3d.data.views import Farthest
    from act3d.engine.fit import check_machine, run
    from act3d.evaluation.protocol import open_protocol, protocol_name
    from act3d.recipes.classifier import ClassifierModule

    check_machine(trainer)
    clouds = open_protocol(data, protocol, select, seed, test_split)
    model, start = build_classifier(checkpoint, classifier, len(clouds.train.classes), seed, folder if resume else None)
    if not classifier.resample:
        clouds = clouds._replace(train=Farthest(clouds.train, data.points))
    module = ClassifierModule(
        model, clouds, protocol, select, classifier.label_smoothing, data, optim, shortened(trainer), seed
    )
    how = protocol_name(protocol, select)
    module.facts = {
        "start": start,
        "select": "best" if protocol == "legacy" else select,
        "protocol_name": how,
        "transfer": classifier.transfer,
        "augment": data.augment,
        "points": data.points,
        "normalization": clouds.test.normalization,
        "clouds": {"train": len(clouds.train), "test": len(clouds.test)},
        "splits": {"train": data.split, "test": test_split},
    }
    warn_of_augmentation(clouds.train.name, data.augment)
    meta = checkpoint_meta(clouds.train, "finetune", seed, protocol) | {"points": data.points, "start": start}
    meta["protocol_name"] = how
    if not resume:
        write_json(folder.path / "start.json", start)
    result = run("finetune", module, clouds.train, folder, settings, meta, protocol, resume)
    print_result(result, clouds.test.name, len(clouds.test), how)
    return result


def build_classifier(
    checkpoint: str, config: ClassifierConfig, classes: int, seed: int, resumed: RunFolder | None = None
) -> "tuple[Classifier, dict[str, Any]]":
    """Return a classifier with the checkpoint's encoder, or a fresh one, and where it starts from.

    A resumed run's weights come from its own state, so its checkpoint is not needed again: `start.json` has its size.

    Raises:
        CheckpointError: missing, damaged, or no point encoder in it.
    """
    import torch

    from act3d import checkpoints
    from act3d.errors import CheckpointError, InputError
    from act3d.models.classifier import Classifier
    from act3d.models.student import PointEncoder

    start: dict[str, Any] = {"kind": "scratch", "checkpoint": "", "encoder": None}
    source = None
    if resumed is not None and (resumed.path / "start.json").exists():
        start = json.loads((resumed.path / "start.json").read_text(encoding="utf-8"))
    elif checkpoint:
        source = checkpoints.load(checkpoint).model
        encoder = getattr(source, "encoder", None)
        if not isinstance(encoder, PointEncoder):
            raise CheckpointError(
                f"checkpoint: {checkpoint} holds a {type(source).__name__}, which has no point encoder"
            )
        start = {"kind": source.kind, "checkpoint": checkpoint, "encoder": dict(encoder.config)}
    size = start["encoder"] or {"width": config.width, "depth": config.depth, "heads": config.heads}
    torch.manual_seed(seed)  # initial weights
    model = Classifier(
        classes,
        config.patches,
        config.patch_size,
        **size,
        drop_path=config.drop_path,
        transfer=config.transfer,
        dropout=config.dropout,
    )
    if source is not None:
        try:
            start["fresh"] = model.start_from(source)
        except InputError as error:
            raise CheckpointError(f"checkpoint: {checkpoint}: {error}") from None
    return model, start


def warn_of_augmentation(dataset: str, augment: str) -> None:
    """Say so when a released dataset is augmented in another way than its published results were."""
    scanned = dataset.startswith("scanobjectnn")
    usual = "rotate_y" if scanned else "scale_shift"
    if (scanned or dataset.startswith("modelnet40")) and augment != usual:
        print(
            f"note: published results on {dataset} use data.augment={usual}; this run uses {augment}", file=sys.stderr
        )


def print_result(result: RunResult, dataset: str, clouds: int, how: str) -> None:
    """Print the line that a run ends with."""
    if "oa" in result.metrics:
        m = result.metrics
        print(f"{dataset}, {clouds} test clouds, {how}: OA {m['oa']:.2f} %, mAcc {m['macc']:.2f} %  ->  {result.out}")

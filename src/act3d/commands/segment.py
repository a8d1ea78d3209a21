"""`act3d segment`: a pretrained encoder, or a fresh one, learns to label every point of shapes or rooms."""

from typing import Any

from act3d.engine.run_folder import RunFolder, RunResult, finished_run
from act3d.errors import ConfigError
from act3d.settings.segmentation import SceneConfig, SegmenterConfig, validate_segmenter
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig, validate

DATA = DataConfig(points=2048, batch_size=16)
SEGMENTER = SegmenterConfig()
SCENES = SceneConfig()
OPTIM = OptimConfig(lr=2e-4, weight_decay=0.05, clip=10)
TRAINER = TrainerConfig()


def segment(
    checkpoint: str = "",
    data: DataConfig = DATA,
    segmenter: SegmenterConfig = SEGMENTER,
    scenes: SceneConfig = SCENES,
    optim: OptimConfig = OPTIM,
    trainer: TrainerConfig = TRAINER,
    protocol: Protocol = "standard",
    select: Select = "last",
    test_split: str = "test",
    evaluate: bool = False,
    out: str = "runs/segment",
    seed: int = 0,
    resume: bool = False,
) -> RunResult:
    """Train a segmenter, or judge one.

    Parts: shapes with part labels (ShapeNetPart as released, or any prepared dataset with parts). Results are instance
    mIoU, class mIoU and accuracy, all of one epoch, a table by category, and the same with votes.

    Scenes: a folder of rooms (S3DIS, synthetic rooms, or your own; see act3d prepare). Results are mIoU, mAcc and OA,
    by blocks and over whole rooms with votes; labels are written as coloured PLY files beside the ground truth.

    Args:
        checkpoint: the encoder to start from: a run folder of `act3d pretrain`, a .safetensors, or a released .pth
            file; empty = from scratch. With evaluate: the segmenter to judge.
        data: labelled shapes, or rooms; `val_split` and `val_fraction` say what is held out when select is "best".
        segmenter: the task, how clouds are cut, the head, and the encoder's size from scratch.
        scenes: how rooms are cut, and which of them test.
        optim: AdamW and the learning rate.
        trainer: how long, on what, how often to look and save.
        protocol: "standard" looks at the test set once, after training; "legacy" picks the best epoch on it, as most
            published numbers do.
        select: under "standard", report the "last" epoch, or the "best" on shapes or rooms held out of training.
        test_split: split of the dataset that judges parts (rooms: scenes.held_out).
        evaluate: train nothing; judge the segmenter in `checkpoint`.
        out: run folder: config.yaml, metrics.csv, TensorBoard events, checkpoints/, predictions/, results.json.
        seed: seed of all randomness.
        resume: go on with the run in `out` exactly where it was saved.

    Returns:
        Test metrics and where the weights lie.

    Raises:
        ConfigError: a setting out of its bounds, or `out` holds a run already.
        InputError: data that cannot be used.
        CheckpointError: the checkpoint is missing, damaged, or does not fit.
        Interrupted: Ctrl-C or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss became infinite or not a number.
    """
    settings: dict[str, Any] = {
        "out": out,
        "seed": seed,
        "checkpoint": checkpoint,
        "data": data,
        "segmenter": segmenter,
        "scenes": scenes,
        "optim": optim,
        "trainer": trainer,
        "protocol": protocol,
        "select": select,
        "test_split": test_split,
        "evaluate": evaluate,
    }
    validate(settings)
    validate_segmenter(settings)
    if evaluate and not checkpoint:
        raise ConfigError("checkpoint: missing; evaluate needs the segmenter to judge")
    folder = RunFolder(out)
    folder.check(resume)
    if resume and (result := finished_run(folder, trainer)):
        return result

    from types import SimpleNamespace

    from act3d.engine.loop import train
    from act3d.engine.machine import check_machine

    check_machine(trainer)
    plain = SimpleNamespace(**settings)
    if task_of(data, segmenter) == "scenes":
        from act3d.recipes.scenes import SceneTraining
        from act3d.report.room_picture import render_room

        recipe: Any = SceneTraining.build(plain, folder, resume, render_room)
    else:
        from act3d.recipes.parts import PartTraining

        recipe = PartTraining.build(plain, folder, resume)
    if evaluate:
        return _evaluate(recipe, folder)
    result = folder.result(train(recipe, folder, resume))
    print_result(result, recipe.clouds.name, recipe.facts["protocol_name"])
    return result


def task_of(data: DataConfig, segmenter: SegmenterConfig) -> str:
    """Return "parts" or "scenes"."""
    from act3d.data.rooms import find_rooms

    if segmenter.task != "auto":
        return segmenter.task
    return "parts" if find_rooms(data.root) is None else "scenes"


def _evaluate(recipe: Any, folder: RunFolder) -> RunResult:
    """Test given weights: no training; config.yaml and results.json like any run's."""
    import time

    from act3d.engine.machine import choose_training_device
    from act3d.errors import CheckpointError

    began = time.monotonic()
    if recipe.start["kind"] != "segmenter" or "fresh" in recipe.start:
        raise CheckpointError(f"checkpoint: {recipe.start['checkpoint']} is no segmenter of the data's labels")
    folder.begin(recipe.settings, "segment")
    device = choose_training_device(recipe.plan)
    recipe.model.to(device)
    recipe.to(device)
    metrics = recipe.test(folder) | {"weights": "given"}
    clouds = recipe.clouds
    folder.write_results(
        command="segment",
        protocol="given weights",
        metrics=metrics,
        seed=recipe.seed,
        data={"name": clouds.name, "fingerprint": clouds.fingerprint},
        duration_s=round(time.monotonic() - began, 1),
        **recipe.facts | {"protocol_name": "given weights"},
    )
    result = folder.result(metrics)
    print_result(result, clouds.name, "given weights")
    return result


def print_result(result: RunResult, dataset: str, how: str) -> None:
    """Print the tables that a run ends with."""
    from rich.console import Console
    from rich.table import Table

    m = result.metrics
    rows: dict[str, Any] = m.get("categories") or m.get("classes") or {}
    if not rows:
        return
    names = ("shapes", "miou") if "categories" in m else ("points", "iou", "accuracy")
    table = Table("category" if "categories" in m else "class", *names, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in rows.items():
        values = [row[key] for key in names]
        table.add_row(name, *("" if v is None else f"{v:.1f}" if isinstance(v, float) else str(v) for v in values))
    Console().print(table)
    if "categories" in m:
        text = f"instance mIoU {m['instance_miou']:.2f}, class mIoU {m['class_miou']:.2f}, accuracy {m['accuracy']:.2f}"
        if "votes" in m:
            text += f"; {m['votes']} votes: {m['instance_miou_voted']:.2f}, {m['class_miou_voted']:.2f}"
    else:
        text = f"whole rooms, {m['votes']} votes: mIoU {m['miou']:.2f}, mAcc {m['macc']:.2f}, OA {m['oa']:.2f}"
        b = m["blocks"]
        text += f"; blocks: {b['miou']:.2f}, {b['macc']:.2f}, {b['oa']:.2f}"
    print(f"{dataset}, {how}: {text}  ->  {result.out}")

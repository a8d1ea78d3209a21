"""`act3d segment`: a pretrained encoder, or a fresh one, learns to label every point of shapes or rooms."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.engine.run_folder import RunFolder, RunResult
from act3d.errors import CheckpointError, ConfigError
from act3d.files import write_json
from act3d.recipes.common import checkpoint_meta, finished_run, shortened
from act3d.settings.segmentation import SceneConfig, SegmenterConfig, validate_segmenter
from act3d.settings.tasks import Protocol, Select
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig, validate

if TYPE_CHECKING:
    from act3d.engine.module import StageModule
    from act3d.models.segmenter import Segmenter

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

    from act3d.engine.fit import check_machine, run
    from act3d.evaluation.protocol import protocol_name

    check_machine(trainer)
    how = "given weights" if evaluate else protocol_name(protocol, select)
    stage = _scene_stage if task_of(data, segmenter) == "scenes" else _part_stage
    module, train, meta = stage(settings, folder.path / "start.json", resume)
    module.facts |= {"protocol_name": how, "augment": data.augment, "points": data.points}
    if evaluate:
        return _judge(module, train, folder, settings)
    result = run("segment", module, train, folder, settings, meta, protocol, resume)
    print_result(result, train.name, how)
    return result


def task_of(data: DataConfig, segmenter: SegmenterConfig) -> str:
    """Return "parts" or "scenes"."""
    from act3d.data.rooms import find_rooms

    if segmenter.task != "auto":
        return segmenter.task
    return "parts" if find_rooms(data.root) is None else "scenes"


def _part_stage(settings: dict[str, Any], kept: Path, resume: bool) -> "tuple[StageModule, Any, dict[str, Any]]":
    """Return the training module, its shapes, and facts for checkpoints."""
    from act3d.recipes.parts import PartModule, open_parts

    data, config, seed = settings["data"], settings["segmenter"], settings["seed"]
    protocol = settings["protocol"]
    clouds = open_parts(data, protocol, settings["select"], seed, settings["test_split"], config.leave_out)
    model, start = build_segmenter(settings, len(clouds.train.parts), len(clouds.train.classes), kept, resume)
    module = PartModule(
        model, clouds, protocol, config.votes, data, settings["optim"], shortened(settings["trainer"]), seed
    )
    splits = {"train": data.split, "test": settings["test_split"]}
    module.facts = {"task": "parts", "start": start, "splits": splits, "normalization": clouds.train.normalization}
    module.facts["clouds"] = {"train": len(clouds.train), "test": len(clouds.test)}
    meta = checkpoint_meta(clouds.train, "segment", seed, protocol) | {
        "points": data.points, "start": start, "parts": clouds.train.parts, "class_parts": clouds.train.class_parts,
    }  # fmt: skip
    return module, clouds.train, meta


def _scene_stage(settings: dict[str, Any], kept: Path, resume: bool) -> "tuple[StageModule, Any, dict[str, Any]]":
    """Return the training module, its blocks, and facts for checkpoints."""
    from act3d.recipes.scenes import SceneModule, open_scenes
    from act3d.report.room_picture import render_room

    data, scenes, seed = settings["data"], settings["scenes"], settings["seed"]
    rooms = open_scenes(data, scenes, settings["protocol"], settings["select"], seed)
    model, start = build_segmenter(settings, len(rooms.train.classes), 0, kept, resume)
    plan = shortened(settings["trainer"])
    module = SceneModule(model, rooms, scenes, settings["protocol"], data, settings["optim"], plan, seed, render_room)
    module.facts = {"task": "scenes", "start": start, "test_rooms": rooms.test}
    module.facts["clouds"] = {"rooms": len(rooms.train.rooms), "blocks": len(rooms.train), "test": len(rooms.test)}
    meta = checkpoint_meta(rooms.train, "segment", seed, settings["protocol"]) | {
        "points": data.points, "start": start, "block": scenes.block, "stride": scenes.stride,
    }  # fmt: skip
    return module, rooms.train, meta


def build_segmenter(
    settings: dict[str, Any], classes: int, categories: int, kept: Path, resume: bool
) -> "tuple[Segmenter, dict[str, Any]]":
    """Return a segmenter with the checkpoint's encoder, or a fresh one, and where it starts from.

    With evaluate, and where a segmenter of the same labels is given, all of it is taken over. A resumed run's weights
    come from its own state, so its checkpoint is not needed again: `kept` (start.json) has its size.

    Raises:
        CheckpointError: missing, damaged, no point encoder in it, or not the segmenter that evaluate needs.
    """
    import json

    import torch

    from act3d import checkpoints
    from act3d.models.segmenter import Segmenter
    from act3d.models.student import PointEncoder

    config, checkpoint = settings["segmenter"], settings["checkpoint"]
    start: dict[str, Any] = {"kind": "scratch", "checkpoint": "", "encoder": None}
    if resume and kept.exists():
        start = json.loads(kept.read_text(encoding="utf-8"))
        checkpoint = ""
    source = checkpoints.load(checkpoint).model if checkpoint else None
    if isinstance(source, Segmenter) and (source.classes, source.categories) == (classes, categories):
        return source, {"kind": "segmenter", "checkpoint": checkpoint, "encoder": dict(source.encoder.config)}
    if settings["evaluate"]:
        labels = f"{classes} labels and {categories} categories"
        raise CheckpointError(f"checkpoint: {checkpoint} is no segmenter of the data's {labels}")
    if source is not None:
        encoder = getattr(source, "encoder", None)
        if not isinstance(encoder, PointEncoder):
            raise CheckpointError(f"checkpoint: {checkpoint} holds a {type(source).__name__}: it has no point encoder")
        start = {"kind": source.kind, "checkpoint": checkpoint, "encoder": dict(encoder.config)}
    size = start["encoder"] or {"width": config.width, "depth": config.depth, "heads": config.heads}
    torch.manual_seed(settings["seed"])  # initial weights
    model = Segmenter(
        classes, categories, config.patches, config.patch_size, **size, drop_path=config.drop_path,
        head_widths=config.head_widths, dropout=config.dropout,
    )  # fmt: skip
    if source is not None:
        start["fresh"] = model.start_from(source)
    if not resume:
        write_json(kept, start)
    return model, start


def _judge(module: "StageModule", clouds: Any, folder: RunFolder, settings: dict[str, Any]) -> RunResult:
    """Judge given weights: no training; config.yaml and results.json like any run's."""
    import time

    began = time.monotonic()
    folder.begin(settings, "segment")
    metrics = module.conclude(folder) | {"weights": "given"}
    folder.write_results(
        command="segment",
        protocol="given weights",
        metrics=metrics,
        seed=settings["seed"],
        data={"name": clouds.name, "fingerprint": clouds.fingerprint},
        duration_s=round(time.monotonic() - began, 1),
        **module.facts,
    )
    result = RunResult(folder.path, metrics)
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

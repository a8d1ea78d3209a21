"""The commands: their groups, modules and examples."""

import importlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from act3d.settings.model import Settings


class Command(NamedTuple):
    """One command: its group, the places of its settings and function, a summary in one line, and examples."""

    group: Literal["Learn", "Use", "Look", "Data"]
    settings: str
    target: str
    summary: str
    examples: tuple[str, ...]


GROUPS = {
    "Learn": "Train, such as: act3d pretrain --config small/pretrain --teacher.checkpoint runs/teacher",
    "Use": "Use a trained model, such as: act3d embed my_meshes --out shapes.parquet",
    "Look": "Measure and inspect, such as: act3d probe runs/pretrain --data.root data/mine",
    "Data": "Make and check datasets, such as: act3d prepare my_meshes --out data/mine",
}

COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "Learn",
        "act3d.settings.preparing:QuickstartSettings",
        "act3d.commands.quickstart:quickstart",
        "See act3d-small find and name furniture, then an encoder learn by ACT from nothing: minutes",
        (
            "act3d quickstart",
            "act3d quickstart --seeds 3",
        ),
    ),
    "teach": Command(
        "Learn",
        "act3d.settings.preparing:TeachSettings",
        "act3d.commands.teach:teach",
        "The whole way for your own shapes: prepare, both stages, probe, index, page",
        (
            "act3d teach my_meshes",
            "act3d teach data/kicad --out runs/kicad",
        ),
    ),
    "autoencode": Command(
        "Learn",
        "act3d.settings.pretraining:AutoencodeSettings",
        "act3d.commands.autoencode:autoencode",
        "Stage I: turn a pretrained Transformer into a 3D teacher",
        (
            "act3d autoencode --config small/autoencode --data.root data/mine --out runs/teacher",
            "act3d autoencode --config small/autoencode --data.root data/mine,data/kicad --data.weights 2,1",
            "act3d autoencode --config act/autoencode --data.root data/ShapeNet55 --trainer.precision bf16",
            "act3d autoencode --resume runs/teacher",
        ),
    ),
    "pretrain": Command(
        "Learn",
        "act3d.settings.pretraining:PretrainSettings",
        "act3d.commands.pretrain:pretrain",
        "Stage II: pretrain a 3D Transformer with the features of the teacher",
        (
            "act3d pretrain --config small/pretrain --data.root data/mine --teacher.checkpoint runs/teacher",
            "act3d pretrain --config act/pretrain --data.root data/ShapeNet55 --teacher.checkpoint runs/teacher",
            "act3d pretrain --resume runs/pretrain --trainer.epochs 400",
        ),
    ),
    "align": Command(
        "Learn",
        "act3d.settings.alignment:AlignSettings",
        "act3d.commands.align:align",
        "Teach an encoder with the names of its shapes (name-supervised)",
        (
            "act3d align --config small/align --data.root data/mine --checkpoint runs/pretrain",
            "act3d align --config small/align --data.root data/mine --text.column names --out runs/align-names",
            "act3d align --resume runs/align",
        ),
    ),
    "finetune": Command(
        "Learn",
        "act3d.settings.tasks:FinetuneSettings",
        "act3d.commands.finetune:finetune",
        "Train a classifier from a pretrained encoder",
        (
            "act3d finetune --config small/finetune --data.root data/mine",
            "act3d finetune --config small/finetune --data.root data/mine --checkpoint runs/pretrain",
            "act3d finetune --config act/finetune-scan-hardest --data.root data/ScanObjectNN --checkpoint act.pth",
            "act3d finetune --config small/finetune --config small/finetune-scratch --data.root data/mine",
            "act3d finetune --resume runs/finetune",
        ),
    ),
    "segment": Command(
        "Learn",
        "act3d.settings.segmentation:SegmentSettings",
        "act3d.commands.segment:segment",
        "Label every point: parts of shapes, or scenes of rooms",
        (
            "act3d segment --config small/parts --data.root data/kicad --data.subset core --checkpoint runs/pretrain",
            "act3d segment --config act/parts --data.root data/ShapeNetPart --checkpoint act.pth",
            "act3d segment --config act/scenes --data.root data/S3DIS --scenes.held_out Area_5 --checkpoint act.pth",
        ),
    ),
    "fewshot": Command(
        "Learn",
        "act3d.settings.tasks:FewshotSettings",
        "act3d.commands.fewshot:fewshot",
        "Learn new classes from a few shapes of each: settings, folds, mean and deviation",
        (
            "act3d fewshot --config act/fewshot --data.root data/ModelNetFewshot --checkpoint runs/pretrain",
            "act3d fewshot --config small/fewshot --data.root data/mine --tasks.ways 5 --tasks.shots 10",
            "act3d fewshot --resume runs/fewshot",
        ),
    ),
    "embed": Command(
        "Use",
        "act3d.settings.using:EmbedSettings",
        "act3d.commands.embed:embed",
        "Write one vector for every shape of a file, a folder or a dataset",
        (
            "act3d embed my_meshes --checkpoint runs/pretrain --out shapes.parquet",
            'act3d embed "parts/**/*.obj" --checkpoint student.safetensors --out parts.npz --data.workers 4',
        ),
    ),
    "index": Command(
        "Use",
        "act3d.settings.using:IndexSettings",
        "act3d.commands.index:index",
        "Make a collection searchable by shape, or bring its index up to date",
        (
            "act3d index my_meshes --out index",
            "act3d index my_meshes --checkpoint runs/pretrain --out index",
            'act3d index my_meshes --checkpoint runs/align --out index --labels "chair,table,lamp"',
        ),
    ),
    "search": Command(
        "Use",
        "act3d.settings.using:SearchSettings",
        "act3d.commands.search:search",
        "Find the shapes of an indexed collection that are nearest to a given one, or to words",
        (
            "act3d search chair.obj --index index -k 10",
            "act3d search chair.obj --index index --page found.html",
            "act3d search chairs/oak.obj --index index",
            'act3d search --index index --text "flat washer" --without hole',
            """act3d search chair.obj --index index --where "class = 'chair' and height < 3\"""",
        ),
    ),
    "app": Command(
        "Use",
        "act3d.settings.app:AppSettings",
        "act3d.commands.app:app",
        "Open a library of shapes in the browser: look, filter, search, drop a file, turn, export",
        (
            "act3d app my_meshes --checkpoint runs/pretrain",
            "act3d app index",
        ),
    ),
    "predict": Command(
        "Use",
        "act3d.settings.using:PredictSettings",
        "act3d.commands.predict:predict",
        "Classify shapes (a classifier), or colour their points by part (a segmenter)",
        (
            "act3d predict chair.obj --checkpoint runs/classifier",
            'act3d predict chair.obj --checkpoint runs/align --labels "chair,table,lamp"',
            "act3d predict my_meshes --checkpoint runs/segmenter --out coloured --category chair",
        ),
    ),
    "export": Command(
        "Use",
        "act3d.settings.using:ExportSettings",
        "act3d.commands.export:export",
        "Write a model as ONNX, checked against PyTorch",
        ("act3d export runs/pretrain --format onnx --out student.onnx --int8",),
    ),
    "convert": Command(
        "Use",
        "act3d.settings.using:ConvertSettings",
        "act3d.commands.convert:convert",
        "Write a released checkpoint as a native one",
        ("act3d convert ACT.pth --out act.safetensors",),
    ),
    "probe": Command(
        "Look",
        "act3d.settings.evaluation:ProbeSettings",
        "act3d.commands.probe:probe",
        "Test frozen features by linear SVM and nearest neighbours, against random weights",
        ("act3d probe runs/pretrain --data.root data/mine",),
    ),
    "evaluate": Command(
        "Look",
        "act3d.settings.evaluation:EvaluateSettings",
        "act3d.commands.evaluate:evaluate",
        "Test a classifier or segmenter: accuracies or mIoU, a table by class, the confusion matrix",
        (
            "act3d evaluate runs/finetune --data.root data/mine --out runs/finetune/test",
            "act3d evaluate released.pth --data.root data/ModelNet --votes 10",
            "act3d evaluate runs/scenes --data.root data/rooms --out runs/scenes/test",
        ),
    ),
    "show": Command(
        "Look",
        "act3d.settings.using:ShowSettings",
        "act3d.commands.show:show",
        "Draw a figure: reconstructions, a map, masks, attention, codes, parts, a dataset, nearest shapes",
        (
            "act3d show reconstruct sample --checkpoint runs/stage1 runs/dvae --out reconstructions.pdf",
            "act3d show map data/mine --checkpoint runs/pretrain --out map.html",
            "act3d show data data/mine --out mine.html",
        ),
    ),
    "report": Command(
        "Look",
        "act3d.settings.evaluation:ReportSettings",
        "act3d.commands.report:report",
        "Write one page about finished runs: shapes, reconstructions, map, numbers, curves",
        (
            "act3d report runs/pretrain runs/stage1 --out report.html",
            "act3d report runs/quickstart",
        ),
    ),
    "compare": Command(
        "Look",
        "act3d.settings.evaluation:CompareSettings",
        "act3d.commands.compare:compare",
        "Put results of several runs into one table: mean, spread and best over seeds",
        (
            "act3d compare runs/finetune-*",
            "act3d compare pretrained=runs/a-* scratch=runs/b-* --out table.md",
        ),
    ),
    "inspect": Command(
        "Look",
        "act3d.settings.using:InspectSettings",
        "act3d.commands.inspect:inspect",
        "Show a checkpoint: kind, config, size, missing and left-over weights",
        (
            "act3d inspect ACT.pth",
            "act3d inspect runs/pretrain --json",
            "act3d inspect runs/pretrain --header",
            "act3d inspect index",
        ),
    ),
    "doctor": Command(
        "Look",
        "act3d.settings.preparing:DoctorSettings",
        "act3d.commands.doctor:doctor",
        "List what is installed and what is missing, and check a computation against stored numbers",
        ("act3d doctor",),
    ),
    "prepare": Command(
        "Data",
        "act3d.settings.preparing:PrepareSettings",
        "act3d.commands.prepare:prepare",
        "Turn a folder of meshes and point clouds into a dataset ready for training",
        (
            "act3d prepare my_meshes --out data/mine",
            "act3d prepare kicad-packages3d.deb --format kicad --out data/kicad",
        ),
    ),
    "check-data": Command(
        "Data",
        "act3d.settings.preparing:CheckDataSettings",
        "act3d.commands.check_data:check_data",
        "Show which dataset a folder holds, and what is missing or damaged",
        (
            "act3d check-data data/ScanObjectNN",
            "act3d check-data sample",
        ),
    ),
    "draw-folds": Command(
        "Data",
        "act3d.settings.tasks:DrawFoldsSettings",
        "act3d.commands.draw_folds:draw_folds",
        "Draw few-shot tasks from a labelled dataset into files of the released layout",
        (
            "act3d draw-folds --data.root data/ModelNet --out data/ModelNetFewshot",
            "act3d draw-folds --data.root data/mine --tasks.ways 5 --tasks.shots 10 --out data/mine-fewshot",
        ),
    ),
}


def load(path: str) -> Any:
    """Return what "module:name" stands for."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def settings_of(name: str) -> "type[Settings]":
    """Return the model of a command's settings."""
    model: type[Settings] = load(COMMANDS[name].settings)
    return model

"""The arrays and words of the quickstart's report, gathered from its runs."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from act3d.commands.quickstart import VARIANTS, SeedRun
from act3d.report.quickstart import Chart, EmbeddingMap, Line, QuickstartReport, Shape, Variant

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset

SHAPES = 6
TEACHERS = {"minilm": "MiniLM, which reads English sentences"}


def build_report(runs: list[SeedRun], root: str) -> QuickstartReport:
    """Return everything on the page; pictures and map are of the first seed."""
    from act3d.data import open_dataset

    first = runs[0]
    settings = read_settings(first.stage1.out)
    train, test = (open_dataset(root, split, settings["data"]["points"]) for split in ("train", "test"))
    teacher = settings["teacher"]["name"]
    counts = np.bincount(test.labels[test.labels >= 0])
    return QuickstartReport(
        teacher=TEACHERS.get(teacher, teacher),
        classes=list(train.classes),
        train_shapes=first.probe.data["train_shapes"],
        test_shapes=first.probe.data["test_shapes"],
        chance=100 * float(counts.max() / counts.sum()),
        variants=[variant(kind, runs) for kind in VARIANTS],
        shapes=reconstructions(first, test),
        charts=training_charts(runs),
        map=embedding_map(first, train, test),
        commands=own_commands(),
        facts=facts(runs),
        licence=licence(train, root),
        footer="Made by act3d quickstart. Nothing on this page is loaded from elsewhere.",
        seeds=[run.seed for run in runs],
    )


def variant(kind: str, runs: list[SeedRun]) -> Variant:
    """Return one row of the table."""
    found = [run.probe.metrics[kind] for run in runs]
    per_class = {name: float(np.mean([f["per_class"][name] for f in found])) for name in found[0]["per_class"]}
    return Variant(VARIANTS[kind], [f["linear"] for f in found], [f["knn"] for f in found], per_class)


def reconstructions(run: SeedRun, test: "CloudDataset", count: int = SHAPES) -> list[Shape]:
    """Return the first test shape of each of `count` classes, evenly spread over the list: by rule, not by eye."""
    import torch

    from act3d import checkpoints
    from act3d.geometry import chamfer
    from act3d.models.autoencoder import Autoencoder

    model = checkpoints.load(run.stage1.out, expect=Autoencoder).model
    labels = np.unique(test.labels[test.labels >= 0])
    chosen = labels[np.unique(np.linspace(0, len(labels) - 1, min(count, len(labels))).round().astype(int))]
    rows = [int(np.flatnonzero(test.labels == label)[0]) for label in chosen]
    points = test.fetch(rows, 0)["points"]
    with torch.inference_mode():
        rebuilt = model.reconstruct(points)
        coarse = (rebuilt.coarse + rebuilt.centers.unsqueeze(2)).flatten(1, 2)  # (B, G*M/4, 3)
        distance = 1000 * chamfer(points, rebuilt.points, norm=1, reduction="none")
    return [
        Shape(
            test.classes[test.labels[row]].replace("_", " "),
            f"{test.names[row].rsplit('/', 1)[-1]} · Chamfer L1 {float(distance[i]):.1f} × 10⁻³",
            points[i].numpy(),
            coarse[i].numpy(),
            rebuilt.points[i].numpy(),
        )
        for i, row in enumerate(rows)
    ]


def embedding_map(run: SeedRun, train: "CloudDataset", test: "CloudDataset") -> EmbeddingMap:
    """Return a map of all labelled shapes by the taught encoder's frozen features."""
    from act3d.evaluation.features import flatten_map

    seen, new = run.probe.features["taught"]
    names = [
        name for clouds in (train, test) for name, label in zip(clouds.names, clouds.labels, strict=True) if label >= 0
    ]
    is_test = np.repeat([False, True], [len(seen.y), len(new.y)])
    return EmbeddingMap(flatten_map(np.concatenate([seen.x, new.x])), np.concatenate([seen.y, new.y]), names, is_test)


def training_charts(runs: list[SeedRun]) -> list[Chart]:
    """Return the curves of both stages, one line a seed; a curve that no run wrote is left out."""
    wanted = [
        ("stage1", "reconstruction", "Stage I: Chamfer L1 of patches, training", True),
        ("stage1", "val_cd_l1", "Stage I: Chamfer L1 of held-out shapes, × 1000", False),
        ("stage2", "loss", "Stage II: loss on hidden patches, training", False),
        ("stage2", "probe", "Stage II: linear SVM on held-out shapes, % right", False),
    ]
    charts = []
    for stage, column, label, log_y in wanted:
        lines = {f"seed {run.seed}": read_curve(getattr(run, stage).out / "metrics.csv", column) for run in runs}
        lines = {name: line for name, line in lines.items() if len(line[0])}
        if lines:
            charts.append(Chart("step", label, lines, log_y))
    return charts


def read_curve(path: Path, column: str, limit: int = 300) -> Line:
    """Return steps and values of one column of a metrics.csv; more than `limit` are averaged in blocks."""
    from act3d.engine.log import read_metrics

    rows = [(float(row["step"]), float(row[column])) for row in read_metrics(path) if row.get(column)]
    steps, values = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    blocks = np.array_split(np.arange(len(steps)), min(limit, max(len(steps), 1)))
    if len(steps) <= limit:
        return steps, values
    return np.array([steps[b].mean() for b in blocks]), np.array([values[b].mean() for b in blocks])


def facts(runs: list[SeedRun]) -> dict[str, str]:
    """Return what somebody needs to know to get these numbers again."""
    stages = [read_results(result.out) for run in runs for result in (run.stage1, run.stage2)]
    seconds = sum(stage["duration_s"] for stage in stages)
    versions = {**stages[0]["versions"], "scikit-learn": importlib.metadata.version("scikit-learn")}
    data = runs[0].probe.data
    return {
        "Date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Training time": f"{duration(seconds)} for {len(stages)} runs ({duration(seconds / len(runs))} a seed)",
        "Machine": machine(),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Data": f"{data['name']}, {data['train_shapes']} training and {data['test_shapes']} test shapes, "
        f"fingerprint {data['fingerprint'][:16]}",
        "Seeds": ", ".join(str(run.seed) for run in runs),
        "Settings": ", ".join(str(result.out / "config.yaml") for result in (runs[0].stage1, runs[0].stage2)),
        "Repeat": "act3d quickstart --fresh",
    }


def own_commands() -> str:
    """Return the commands that do the same with a folder of one's own."""
    lines = []
    if sys.prefix != sys.base_prefix:
        lines.append(f"source {os.path.relpath(sys.prefix)}/bin/activate          # once in every terminal")
    return "\n".join(
        [
            *lines,
            "act3d prepare path/to/your/shapes --out data/mine   # one subfolder of meshes or clouds a class",
            "act3d autoencode --config small/autoencode --data.root data/mine --out runs/mine/stage1",
            "act3d pretrain --config small/pretrain --data.root data/mine \\",
            "  --teacher.checkpoint runs/mine/stage1 --out runs/mine/stage2",
            "act3d probe runs/mine/stage2 --data.root data/mine",
        ]
    )


def licence(clouds: "CloudDataset", root: str) -> str:
    """Return under what licence the shapes stand, and where the sample's attribution lies."""
    from act3d.data import SAMPLE, sample_root

    text = f"Shapes: {clouds.name}, {clouds.meta.get('licence') or 'licence not declared'}."
    return f"{text} Names and authors of all models: {sample_root() / 'ATTRIBUTION.md'}." if root == SAMPLE else text


def machine() -> str:
    """Return system, processor and what computed."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {processor}, {os.cpu_count()} cores, {device}"


def duration(seconds: float) -> str:
    """Return "8 min 21 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def read_results(run: Path) -> dict[str, Any]:
    """Return a run's results.json."""
    results: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return results


def read_settings(run: Path) -> dict[str, Any]:
    """Return a run's config.yaml."""
    import yaml

    settings: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return settings

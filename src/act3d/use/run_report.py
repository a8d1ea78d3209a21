"""The arrays and texts of the quickstart's page, from finished runs: reconstructions, curves, map and facts."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from act3d.files import read_json, read_metrics
from act3d.presets import read_config
from act3d.report.pieces import Chart, EmbeddingMap, Line, Shape
from act3d.report.quickstart import CodesUsed, QuickstartReport, Variant
from act3d.use.alike import retrieval, small_clouds

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset
    from act3d.evaluation.features import Features

SHAPES = 6
# The kinds of features that `act3d probe` compares, as a reader sees them.
VARIANTS = {
    "pretrained": "Pretrained encoder",
    "random": "Random initialization",
    "data_dependent": "Data-dependent initialization",
    "plain": "Plain PointNet features",
}
TEACHERS = {"minilm": "MiniLM, which reads English sentences"}
CURVES = [
    ("stage1", "reconstruction", "Stage I: Chamfer L1 of patches, training", True),
    ("stage1", "val_cd_l1", "Stage I: Chamfer L1 of held-out shapes, × 1000", False),
    ("stage2", "loss", "Stage II: loss on hidden patches, training", False),
    ("stage2", "probe", "Stage II: linear SVM on held-out shapes, % right", False),
]


@dataclass(frozen=True)
class SeedRun:
    """The run folders of one seed and what the probe found.

    Attributes:
        seed: The seed.
        stage1, stage2: Run folders of `act3d autoencode` and `act3d pretrain`.
        metrics: Kind of features (a key of `VARIANTS`) -> the probe's numbers.
        features: Kind of features -> those of training and of test shapes; "pretrained" and "random" at least.
        data: Name, fingerprint and numbers of shapes of the probe's dataset.
    """

    seed: int
    stage1: Path
    stage2: Path
    metrics: dict[str, dict[str, Any]]
    features: "Mapping[str, tuple[Features, Features]]"
    data: dict[str, Any]


def quickstart_report(
    runs: Sequence[SeedRun],
    train: "CloudDataset",
    test: "CloudDataset",
    commands: str,
    repeat: str,
    attribution: str = "",
) -> QuickstartReport:
    """Return everything on the quickstart's page; pictures and map are of the first seed.

    Args:
        runs: The finished runs, one a seed.
        train, test: The labelled clouds that the probe used, with as many points as the runs were trained with.
        commands: Lines to type for one's own shapes.
        repeat: The command that makes the page again.
        attribution: Where the authors of the shapes are named.
    """
    first = runs[0]
    teacher = read_settings(first.stage1)["teacher"]["name"]
    counts = np.bincount(test.labels[test.labels >= 0])
    codes = codes_used(runs, test)
    of_seeds = ", ".join(str(used) for used in codes.used.values())
    return QuickstartReport(
        teacher=TEACHERS.get(teacher, teacher),
        classes=list(train.classes),
        train_shapes=first.data["train_shapes"],
        test_shapes=first.data["test_shapes"],
        test_remark=how_test_differs(train, test),
        chance=100 * float(counts.max() / counts.sum()),
        variants=[variant(kind, runs) for kind in VARIANTS],
        codes=codes,
        retrieval=retrieval(
            {VARIANTS[kind]: [run.features[kind] for run in runs] for kind in ("pretrained", "random")}, train, test
        ),
        shapes=reconstructions(first, test),
        charts=training_charts(runs),
        map=embedding_map(first, train, test),
        commands=commands,
        facts={**facts(runs), "Codes in use": f"{of_seeds} of {codes.of} (test shapes, by seed)", "Repeat": repeat},
        licence=" ".join([f"Shapes: {test.name}, {test.meta.get('licence') or 'licence not declared'}.", attribution]),
        footer="Made by act3d quickstart. Nothing on this page is loaded from elsewhere.",
        seeds=[run.seed for run in runs],
    )


def variant(kind: str, runs: Sequence[SeedRun]) -> Variant:
    """Return one row of the table: the probe's accuracy on one kind of features."""
    found = [run.metrics[kind] for run in runs]
    per_class = {name: float(np.mean([f["per_class"][name] for f in found])) for name in found[0]["per_class"]}
    return Variant(VARIANTS[kind], [f["linear"] for f in found], [f["knn"] for f in found], per_class)


def how_test_differs(train: "CloudDataset", test: "CloudDataset") -> str:
    """Return "of other product families" if the table of the dataset says so, else ""."""
    tables = [getattr(clouds, "table", {}) for clouds in (train, test)]
    if not all("family" in table for table in tables):
        return ""
    seen, new = (
        {table["family"][row] for row in clouds.rows}  # type: ignore[attr-defined]
        for table, clouds in zip(tables, (train, test), strict=True)
    )
    return "" if seen & new else "of other product families"


def codes_used(runs: Sequence[SeedRun], test: "CloudDataset", batch_size: int = 64) -> CodesUsed:
    """Return how many different codes each seed's autoencoder gives to the patches of the test shapes."""
    import torch

    from act3d import checkpoints
    from act3d.models.autoencoder import FEW_CODES, Autoencoder

    used, of = {}, 0
    for run in runs:
        model = checkpoints.load(run.stage1, expect=Autoencoder).model
        of = model.codebook.shape[0]
        found = np.zeros(of, dtype=bool)
        with torch.inference_mode():
            for start in range(0, len(test), batch_size):
                rows = list(range(start, min(start + batch_size, len(test))))
                patches = model.patchify(test.fetch(rows, 0)["points"])
                found[np.unique(model.tokens(patches).numpy())] = True
        used[run.seed] = int(found.sum())
    return CodesUsed(used, of, FEW_CODES)


def reconstructions(run: SeedRun, test: "CloudDataset", count: int = SHAPES) -> list[Shape]:
    """Return the first test shape of each of `count` classes, evenly spread over the list of classes."""
    import torch

    from act3d import checkpoints
    from act3d.geometry import chamfer
    from act3d.models.autoencoder import Autoencoder

    model = checkpoints.load(run.stage1, expect=Autoencoder).model
    labels = np.unique(test.labels[test.labels >= 0])
    chosen = labels[np.unique(np.linspace(0, len(labels) - 1, min(count, len(labels))).round().astype(int))]
    rows = [int(np.flatnonzero(test.labels == label)[0]) for label in chosen]
    points = test.fetch(rows, 0)["points"]
    with torch.inference_mode():
        rebuilt = model.reconstruct(model.patchify(points))
        coarse = (rebuilt.coarse + rebuilt.centers.unsqueeze(2)).flatten(1, 2)  # (B, G, M/4, 3) -> (B, G*M/4, 3)
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
    """Return a map of all labelled shapes by the pretrained encoder's frozen features."""
    from act3d.evaluation.features import flatten_map

    of_train, of_test = run.features["pretrained"]
    rows = [np.flatnonzero(clouds.labels >= 0).tolist() for clouds in (train, test)]
    return EmbeddingMap(
        xy=flatten_map(np.concatenate([of_train.x, of_test.x])),
        labels=np.concatenate([of_train.y, of_test.y]),
        names=[clouds.names[row] for clouds, of in zip((train, test), rows, strict=True) for row in of],
        test=np.repeat([False, True], [len(of_train.y), len(of_test.y)]),
        clouds=[*small_clouds(train, rows[0]), *small_clouds(test, rows[1])],
    )


def training_charts(runs: Sequence[SeedRun]) -> list[Chart]:
    """Return the curves of both stages, one line a seed; a curve that no run wrote is left out."""
    charts = []
    for stage, column, label, log_y in CURVES:
        lines = {f"seed {run.seed}": read_curve(getattr(run, stage) / "metrics.csv", column) for run in runs}
        lines = {name: line for name, line in lines.items() if len(line[0])}
        if lines:
            charts.append(Chart("step", label, lines, log_y))
    return charts


def read_curve(path: Path, column: str, limit: int = 300) -> Line:
    """Return steps and values of one column of a metrics.csv; more than `limit` are averaged in blocks."""
    rows = [(float(row["step"]), float(row[column])) for row in read_metrics(path) if row.get(column)]
    steps, values = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    if len(steps) <= limit:
        return steps, values
    blocks = np.array_split(np.arange(len(steps)), limit)
    return np.array([steps[b].mean() for b in blocks]), np.array([values[b].mean() for b in blocks])


def facts(runs: Sequence[SeedRun]) -> dict[str, str]:
    """Return what is needed to get these numbers again."""
    stages = [read_results(folder) for run in runs for folder in (run.stage1, run.stage2)]
    seconds = sum(stage["duration_s"] for stage in stages)
    versions = {**stages[0]["versions"], "scikit-learn": importlib.metadata.version("scikit-learn")}
    data = runs[0].data
    return {
        "Date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Training time": f"{duration(seconds)} for {len(stages)} runs ({duration(seconds / len(runs))} a seed)",
        "Machine": machine(),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Data": f"{data['name']}, {data['train_shapes']} training and {data['test_shapes']} test shapes, "
        f"fingerprint {data['fingerprint'][:16]}",
        "Seeds": ", ".join(str(run.seed) for run in runs),
        "Settings": ", ".join(str(folder / "config.yaml") for folder in (runs[0].stage1, runs[0].stage2)),
    }


def machine() -> str:
    """Return system, processor, cores, and the GPU or the number of threads."""
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
    """Return the results.json of a run folder."""
    results: dict[str, Any] = read_json(run / "results.json")
    return results


def read_settings(run: Path) -> dict[str, Any]:
    """Return the config.yaml of a run folder."""
    return read_config(run / "config.yaml")

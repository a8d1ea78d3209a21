"""The arrays and texts of `act3d report`, from finished run folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act3d.data.clouds import CloudDataset
from act3d.data.opening import open_for_model
from act3d.data.rooms import open_rooms
from act3d.data.views import Selection
from act3d.errors import InputError
from act3d.evaluation.features import embed, flatten_map, plain_features
from act3d.evaluation.finished_runs import Run
from act3d.evaluation.frozen_encoder import embedding_of, random_twin
from act3d.evaluation.reconstruction import scores_of
from act3d.files import read_metrics
from act3d.lines import say
from act3d.report.class_colors import hex_colors
from act3d.report.metric_names import metric_name
from act3d.report.pieces import Chart, EmbeddingMap, Shape
from act3d.report.run_page import NumbersTable, RunPage, retrieval_headline
from act3d.supervision import supervision_note
from act3d.tables import count_text
from act3d.use.alike import retrieval, small_clouds
from act3d.use.figures.shapes import Source, array, shapes_of, short
from act3d.use.load import load
from act3d.use.predictor import Predictor
from act3d.use.probing import started_from
from act3d.use.run_report import VARIANTS, duration, read_curve, read_settings
from act3d.use.shape_predictors import AutoencoderPredictor, EncoderPredictor

ENCODER, BEFORE = "Trained encoder", "The encoder before this training"
RANDOM, PLAIN = VARIANTS["random"], VARIANTS["plain"]
SHAPES = 6  # reconstructions
MOST = 2000  # labelled shapes of a split that are embedded, evenly spread
NO_CURVE = ("lr", "clouds_per_s", "step", "epoch")
NO_NUMBER = ("epochs", "steps", "votes")


def run_page(runs: Sequence[Run], device: str = "auto") -> RunPage:
    """Return the page of some runs; shapes are of the first autoencoder and of the first encoder among them.

    Args:
        runs: Finished runs.
        device: Where to compute.
    """
    results = {str(run.path): run.results for run in runs}
    models = {folder: load(folder, device) for folder in results if has_weights(Path(folder))}
    parts: dict[str, Any] = {}
    for folder, model in models.items():
        if isinstance(model, AutoencoderPredictor) and "shapes" not in parts:
            parts["shapes"] = rebuilt_shapes(model, _root(Path(folder)))
        if isinstance(model, EncoderPredictor) and "map" not in parts:
            parts |= encoder_parts(model, _root(Path(folder)))
    rooms, legend = room_pictures([run.path for run in runs])
    commands = ", ".join(dict.fromkeys(f"act3d {run.command}" for run in runs))
    data = ", ".join(dict.fromkeys(str(result.get("data", {}).get("name", "?")) for result in results.values()))
    names = ", ".join(Path(folder).name for folder in results)
    return RunPage(
        names if len(results) < 4 else f"{len(results)} runs",
        f"{len(results)} finished {'run' if len(results) == 1 else 'runs'} of {commands} on {data}.",
        rooms=rooms,
        legend=legend,
        numbers=numbers_tables(results),
        charts=curves({run.path.name: (run.path, run.command) for run in runs}),
        facts={folder: facts_of(Path(folder), result) for folder, result in results.items()},
        **parts,
    )


def has_weights(folder: Path) -> bool:
    """Whether a run left weights: probes, evaluations and few-shot tasks do not."""
    return any((folder / "checkpoints").glob("*.safetensors"))


def _root(folder: Path) -> str:
    """The first dataset that a run was trained on."""
    return str(read_settings(folder).get("data", {}).get("root", "")).split(",")[0]


def rebuilt_shapes(model: AutoencoderPredictor, root: str) -> list[Shape]:
    """Return shapes of a dataset, of its test split where it has one, with their reconstructions."""
    shown = shapes_of(Source(root), model, SHAPES)
    rebuilt = model.reconstruct(shown.points)
    scores = scores_of(rebuilt, shown.points).tolist()
    coarse = (rebuilt.coarse + rebuilt.centers.unsqueeze(2)).flatten(1, 2)  # (B, G, M/4, 3) -> (B, G*M/4, 3)
    return [
        Shape(
            shown.labels[i] or short(shown.names[i]),
            f"{short(shown.names[i])} · F-score {scores[i][0]:.3f}, Chamfer L1 {scores[i][1]:.1f} × 10⁻³",
            array(shown.points[i]),
            array(coarse[i]),
            array(rebuilt.points[i]),
        )
        for i in range(len(shown.names))
    ]


def encoder_parts(model: EncoderPredictor[Any], root: str) -> dict[str, Any]:
    """Return what an encoder finds alike, and its map; {} where the run's data cannot be asked for (no labels)."""
    train, test = (_labelled(model, root, split) for split in ("train", "test"))
    if train is None or test is None:
        return {}
    seed = int(model.meta.get("seed", 0))
    twin = random_twin(model.model, seed)
    before, note = started_from(model.model, model.meta)
    if note:
        say(f"note: {note}", error=True)
    functions = {
        ENCODER: embedding_of(model.model),
        **({BEFORE: embedding_of(before)} if before is not None else {}),
        RANDOM: embedding_of(twin),
        PLAIN: lambda points: plain_features(points, seed=seed),
    }
    features = {
        name: (embed(function, train, 32, model.device), embed(function, test, 32, model.device))
        for name, function in functions.items()
    }
    found = retrieval({name: [pair] for name, pair in features.items()}, train, test)
    ours = features[ENCODER]
    shown = EmbeddingMap(
        xy=flatten_map(np.concatenate([part.x for part in ours])),
        labels=np.concatenate([part.y for part in ours]),
        names=[short(name) for name in [*train.names, *test.names]],
        test=np.repeat([False, True], [len(train), len(test)]),
        clouds=[*small_clouds(train, range(len(train))), *small_clouds(test, range(len(test)))],
    )
    return {
        "retrieval": found,
        "headline": retrieval_headline(found, ENCODER),
        "map": shown,
        "classes": list(train.classes),
    }


def _labelled(model: Predictor[Any], root: str, split: str) -> CloudDataset | None:
    """The labelled clouds of a split, at most 2000, evenly spread; None where there are none."""
    try:
        clouds = open_for_model(model.meta, root, split, 0, labelled=True).clouds
    except InputError:
        return None
    rows = np.flatnonzero(clouds.labels >= 0)
    if not len(rows):
        return None
    return Selection(clouds, rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int))])


def room_pictures(folders: Sequence[Path]) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    """Return the pictures of rooms that runs of segment and evaluate wrote, and the colours of their classes."""
    pictures, legend = [], []
    for folder in folders:
        found = sorted((folder / "predictions").glob("*.png"))
        if found:
            classes = open_rooms(_root(folder)).classes
            legend = list(zip(classes, hex_colors(classes), strict=True))
        pictures += [(path.stem, path.read_bytes()) for path in found]
    return pictures, legend


def numbers_tables(results: Mapping[str, Mapping[str, Any]]) -> list[NumbersTable]:
    """Return a table for every command: one line a run, one column for every number that its results.json has."""
    by_command: dict[str, list[str]] = {}
    for folder, result in results.items():
        by_command.setdefault(str(result.get("command", "?")), []).append(folder)
    return [_numbers_table(command, {name: results[name] for name in names}) for command, names in by_command.items()]


def _numbers_table(command: str, results: Mapping[str, Mapping[str, Any]]) -> NumbersTable:
    numbers = {
        folder: {
            name: value
            for name, value in result["metrics"].items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in NO_NUMBER
        }
        for folder, result in results.items()
    }
    columns = list(dict.fromkeys(name for found in numbers.values() for name in found))
    rows = [
        [
            f"{folder}{supervision_note(results[folder])}",
            str(results[folder].get("seed", "")),
            *(f"{found[name]:.4g}" if name in found else "" for name in columns),
        ]
        for folder, found in numbers.items()
    ]
    return NumbersTable(f"act3d {command}", ["run", "seed", *map(metric_name, columns)], rows)


def curves(runs: Mapping[str, tuple[Path, str]]) -> list[Chart]:
    """Return one chart for every column of the runs' metrics.csv and every command, with one line a run.

    Args:
        runs: Name -> run folder and command; a loss of one command says nothing beside that of another.
    """
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for name, (folder, command) in runs.items():
        file = folder / "metrics.csv"
        if not file.is_file():
            continue
        columns = [column for row in read_metrics(file)[:1] for column in row if column not in NO_CURVE]
        for column in columns:
            line = read_curve(file, column)
            if len(line[0]) > 1:
                lines.setdefault((command, column), {})[name] = line
    return [Chart("step", f"{command}: {metric_name(column)}", found) for (command, column), found in lines.items()]


def facts_of(folder: Path, result: Mapping[str, Any]) -> dict[str, str]:
    """Return what is needed to make a run again."""
    data = result.get("data", {})
    versions = ", ".join(f"{name} {version}" for name, version in result.get("versions", {}).items())
    counts = result.get("parameters") or {}
    trained = f"{count_text(counts['trained'])} of {count_text(counts['all'])}" if counts else ""
    facts = {
        "Command": f"act3d {result.get('command', '?')} --config {folder / 'config.yaml'}",
        "Data": f"{data.get('name', '?')}, fingerprint {data.get('fingerprint', '?')}",
        "Protocol": str(result.get("protocol_name") or result.get("protocol", "")),
        "Seed": str(result.get("seed", "")),
        "Trained parameters": trained,
        "Time": duration(float(result.get("duration_s", 0))),
        "Versions": versions,
    }
    return {name: value for name, value in facts.items() if value}

"""Results of several runs in one table: mean, spread and best over seeds, next to published numbers."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from act3d.errors import InputError, reason_of
from act3d.evaluation.published import METHODS, RESULTS, published
from act3d.files import read_json
from act3d.presets import load_yaml
from act3d.supervision import supervision_note
from act3d.tables import Table, Tabular

# Names of metrics that earlier versions wrote -> today's names.
OLD_NAMES = {
    "taught": "pretrained",
    "untaught": "random",
    "untaught_knn": "random_knn",
    "fitted": "data_dependent",
    "fitted_knn": "data_dependent_knn",
}
# Settings that may differ between the seeds of one row.
_FREE = (
    "out",
    "seed",
    "resume",
    "trainer.devices",
    "trainer.accelerator",
    "data.workers",
    "trainer.log_every",
    "logger",
)


@dataclass(frozen=True)
class Run:
    """Settings and results of one run folder."""

    path: Path
    results: dict[str, Any]
    settings: dict[str, Any]

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.results.get("seed", 0))

    @property
    def protocol(self) -> str:
        """Protocol, with how the epoch was chosen."""
        return str(self.results.get("protocol_name") or self.results.get("protocol", "unknown"))

    @property
    def data(self) -> tuple[str, str]:
        """Name and fingerprint of its data."""
        data = self.results.get("data", {})
        return str(data.get("name", "?")), str(data.get("fingerprint", "?"))


@dataclass
class Row:
    """One line of the table: the seeds of one setting, in one metric.

    values: by run, in percent. published: method -> as published.
    """

    name: str
    metric: str
    dataset: str
    fingerprint: str
    protocol: str
    values: list[float]
    seeds: list[int]
    published: dict[str, str] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def best(self) -> float:
        """The best seed."""
        return max(self.values)


class Comparison(list[Row], Tabular):
    """The rows of a comparison."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{row.name} {row.metric} {row.mean:.2f}" for row in self[:4])
        return f"<Comparison of {len(self)} rows: {shown}{' ...' if len(self) > 4 else ''}>"

    def table(self) -> Table:
        """Return one line a row: mean, spread and best over seeds beside published numbers."""
        header = ["row", "metric", "mean", "±", "best", "seeds", "dataset", "data", "protocol", "published"]
        lines = [
            [
                row.name, row.metric, round(row.mean, 2), None if row.spread is None else round(row.spread, 2),
                round(row.best, 2), len(row.seeds), row.dataset, row.fingerprint, row.protocol,
                ", ".join(f"{method} {value}" for method, value in row.published.items()),
            ]
            for row in self
        ]  # fmt: skip
        return Table(header, lines, digits=2)

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as plain values, with the seeds and the published numbers one by one."""
        return [
            {
                "row": row.name,
                "metric": row.metric,
                "mean": round(row.mean, 2),
                "spread": None if row.spread is None else round(row.spread, 2),
                "best": round(row.best, 2),
                "seeds": row.seeds,
                "dataset": row.dataset,
                "fingerprint": row.fingerprint,
                "protocol": row.protocol,
                "published": row.published,
            }
            for row in self
        ]


def read_run(path: Path) -> Run:
    """Read a run folder's results.json and config.yaml.

    Raises:
        InputError: not there (unfinished, or no run), or damaged.
    """
    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path} holds no results.json: no run, or one that is not finished")
    results = read_json(file)
    _check_results(results, file)
    results["metrics"] = {OLD_NAMES.get(name, name): value for name, value in results["metrics"].items()}
    return Run(file.parent, results, _read_settings(file.with_name("config.yaml")))


def _check_results(results: Any, file: Path) -> None:
    """Refuse what is not the result of one run."""
    if not isinstance(results, dict) or not isinstance(results.get("metrics"), dict):
        raise InputError(f"{file} is not the result of an act3d run")
    if isinstance(results.get("seed"), list):
        raise InputError(f"{file} holds means over seeds; compare the runs that they were made from")
    kinds = {"seed": int, "data": dict, "command": str, "start": dict | None, "test_rooms": list}
    for key, kind in kinds.items():
        if key in results and not isinstance(results[key], kind):
            raise InputError(f"{file} is damaged: {key!r} is {type(results[key]).__name__}")
    folds = results["metrics"].get("settings", {})
    if not isinstance(folds, dict) or not all(isinstance(row, dict) and "mean" in row for row in folds.values()):
        raise InputError(f"{file} is damaged: the settings of few-shot tasks have no means")


def _read_settings(file: Path) -> dict[str, Any]:
    """The settings beside a result; empty where there are none."""
    if not file.is_file():
        return {}
    try:
        settings = load_yaml(file) or {}
    except (ValueError, OSError) as error:
        raise InputError(f"{file} is damaged ({reason_of(error)})") from None
    if not isinstance(settings, dict):
        raise InputError(f"{file} does not hold settings")
    return settings


def gather_rows(named: list[tuple[str, list[Run]]], metrics: list[str]) -> Comparison:
    """Rows of a table.

    Args:
        named: (name, runs); an empty name means "by setting": runs that differ only in their seed share a row.
        metrics: Such as "oa", "macc"; a run that does not have one has no row for it.

    Raises:
        InputError: a named row would mix commands, protocols or datasets, or holds one seed twice.
    """
    metrics = [OLD_NAMES.get(name, name) for name in metrics]
    groups: list[tuple[str, list[Run]]] = []
    for name, runs in named:
        if name:
            groups.append((name, runs))
            continue
        by_setting: dict[str, list[Run]] = {}
        for run in runs:
            by_setting.setdefault(_setting(run), []).append(run)
        groups += [("", group) for group in by_setting.values()]
    rows = Comparison()
    for name, runs in groups:
        _check_row(name or describe(runs[0]), runs)
        rows += _rows_of(name or describe(runs[0]), runs, metrics)
    if not rows:
        raise InputError(f"none of the runs has {', '.join(metrics)} among its metrics")
    return rows


def describe(run: Run) -> str:
    """A name for a run: where its encoder came from, and which parameters were trained."""
    start = run.results.get("start") or {}
    method = METHODS.get(start.get("kind", ""), start.get("kind") or run.results.get("command", "run"))
    parts = [method, run.results.get("transfer", "")]
    if run.results.get("command") == "probe":
        parts.append("probe")
    if votes := run.results.get("votes"):
        parts.append(f"{votes} votes")
    return " ".join(part for part in parts if part) + supervision_note(run.results)


def _setting(run: Run) -> str:
    """All that a row's runs have in common, as a key."""

    def pruned(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        kept = {k: v for k, v in settings.items() if f"{prefix}{k}" not in _FREE}
        return {k: pruned(v, f"{prefix}{k}.") if isinstance(v, dict) else v for k, v in kept.items()}

    settings = pruned(run.settings)
    # Every seed has pretraining of its own or shares one: the kind of encoder counts, not its file.
    settings["checkpoint"] = bool(settings.get("checkpoint"))
    key = [run.results.get("command"), run.protocol, run.data, run.results.get("start", {}), settings]
    if isinstance(key[3], dict):
        key[3] = {k: v for k, v in key[3].items() if k != "checkpoint"}
    return json.dumps(key, sort_keys=True, default=str)


def _check_row(name: str, runs: list[Run]) -> None:
    for what, values in (
        ("commands", {str(run.results.get("command")) for run in runs}),
        ("protocols", {run.protocol for run in runs}),
        ("datasets", {" ".join(run.data) for run in runs}),
        ("numbers of votes", {str(run.results.get("votes", 0)) for run in runs}),
    ):
        if len(values) > 1:
            raise InputError(f"row {name!r} would mix {what}: {', '.join(sorted(values))}; give each a row of its own")
    seeds = [run.seed for run in runs]
    twice = {seed for seed in seeds if seeds.count(seed) > 1}
    if twice:
        folders = ", ".join(str(run.path) for run in runs if run.seed in twice)
        raise InputError(f"row {name!r} holds seed {min(twice)} more than once: {folders}")


def _rows_of(name: str, runs: list[Run], metrics: list[str]) -> list[Row]:
    rows = []
    dataset, fingerprint = runs[0].data
    for metric in metrics:
        found = [(run.seed, _number(run, metric)) for run in runs]
        values = [(seed, value) for seed, value in found if value is not None]
        if values:
            seeds, numbers = [seed for seed, _ in values], [value for _, value in values]
            beside = _published(runs[0], metric)
            rows.append(Row(name, metric, dataset, fingerprint, runs[0].protocol, numbers, seeds, beside))
    settings = runs[0].results["metrics"].get("settings", {})
    for setting in settings if "oa" in metrics else ():  # few-shot: one row a setting
        means = [run.results["metrics"]["settings"][setting]["mean"] for run in runs]
        beside = _published(runs[0], "oa", setting)
        rows.append(
            Row(
                f"{name} {setting}", "oa", dataset, fingerprint, runs[0].protocol, means, [r.seed for r in runs], beside
            )
        )
    return rows


def _published(run: Run, metric: str, setting: str = "") -> dict[str, str]:
    """Published numbers of the same kind: of full fine-tuning, so not beside frozen encoders or probes."""
    dataset = run.data[0]
    rooms = [str(room) for room in run.results.get("test_rooms", [])]
    if metric == "miou" and dataset == "s3dis" and rooms and all(room.startswith("Area_5_") for room in rooms):
        return RESULTS["s3dis Area_5"]
    if metric != "oa" or run.results.get("transfer") != "full":
        return {}
    return published(dataset, run.results.get("points"), setting)


def _number(run: Run, metric: str) -> float | None:
    value = run.results["metrics"].get(metric)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

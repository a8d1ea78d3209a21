"""Results of several runs in one table: mean, spread and best over seeds, next to published numbers."""

import json
import statistics
from dataclasses import dataclass, field
from typing import Any

from act3d.errors import InputError
from act3d.evaluation.finished_runs import OLD_NAMES, Run
from act3d.evaluation.published import METHODS, RESULTS, published
from act3d.presets import flatten
from act3d.supervision import supervision_note
from act3d.tables import Table, Tabular, count_text

# What is shown of a run unless other metrics are asked for: the first of these of which it has the first.
MAIN = (
    ("pretrained", "random", "data_dependent", "plain"),  # quickstart
    ("class_miou", "instance_miou"),  # parts
    ("miou", "macc", "oa"),  # scenes
    ("oa", "macc"),  # classes, probes
    ("recall_1", "recall_5"),  # align
    ("probe",),  # pretrain
    ("val_cd_l1", "val_cd_l2"),  # autoencode
)
LOWER = ("val_cd_l1", "val_cd_l2", "loss")  # the best is the lowest
NAMED = 4  # so many settings at most tell rows of one name apart
# Settings that may differ between the seeds of one row; data are told apart by their fingerprint.
_FREE = (
    "out",
    "seed",
    "resume",
    "data.root",
    "trainer.devices",
    "trainer.nodes",
    "trainer.accelerator",
    "data.workers",
    "trainer.log_every",
    "logger",
)


@dataclass
class Row:
    """One line of the table: the seeds of one setting, in one metric.

    values: by run, in percent. published: method -> as published. trained: parameters that the runs trained, if they
    say so.
    """

    name: str
    metric: str
    dataset: str
    fingerprint: str
    protocol: str
    values: list[float]
    seeds: list[int]
    published: dict[str, str] = field(default_factory=dict)
    trained: int | None = None

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
        return min(self.values) if self.metric in LOWER else max(self.values)


class Comparison(list[Row], Tabular):
    """The rows of a comparison."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{row.name} {row.metric} {row.mean:.2f}" for row in self[:4])
        return f"<Comparison of {len(self)} rows: {shown}{' ...' if len(self) > 4 else ''}>"

    def table(self) -> Table:
        """Return one line a row: mean, spread and best over seeds beside published numbers."""
        header = ["row", "metric", "mean", "±", "best", "seeds", "trained", "dataset", "data", "protocol", "published"]
        lines = [
            [
                row.name, row.metric, round(row.mean, 2), None if row.spread is None else round(row.spread, 2),
                round(row.best, 2), len(row.seeds), count_text(row.trained), row.dataset, row.fingerprint, row.protocol,
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
                "trained": row.trained,
                "dataset": row.dataset,
                "fingerprint": row.fingerprint,
                "protocol": row.protocol,
                "published": row.published,
            }
            for row in self
        ]


def gather_rows(named: list[tuple[str, list[Run]]], metrics: list[str]) -> Comparison:
    """Rows of a table.

    Args:
        named: (name, runs); an empty name means "by setting": runs that differ only in their seed share a row.
        metrics: Such as "oa", "macc"; a run that does not have one has no row for it. Empty = see `MAIN`.

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
        groups += zip(_names([group[0] for group in by_setting.values()]), by_setting.values(), strict=True)
    rows = Comparison()
    for name, runs in groups:
        _check_row(name, runs)
        rows += _rows_of(name, runs, metrics)
    if not rows:
        found = [run.results["metrics"] for _, runs in named for run in runs]
        there = sorted({name for each in found for name, value in each.items() if isinstance(value, int | float)})
        wanted = f"{', '.join(metrics)} among its metrics" if metrics else "one of the usual metrics"
        raise InputError(f"none of the runs has {wanted}; give --metrics some of: {', '.join(there) or 'none there'}")
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


def _names(runs: list[Run]) -> list[str]:
    """A name for each of these runs; those that would share one say by what they differ: command, then settings."""
    alike: dict[tuple[str, str, tuple[str, str]], list[Run]] = {}
    for run in runs:
        alike.setdefault((describe(run), run.protocol, run.data), []).append(run)
    return [_name(run, alike[describe(run), run.protocol, run.data]) for run in runs]


def _name(run: Run, alike: list[Run]) -> str:
    peers = [_common(each) for each in alike if each.command == run.command]
    keys = dict.fromkeys(key for each in peers for key in each)
    apart = [key for key in keys if len({str(each.get(key)) for each in peers}) > 1]
    own = _common(run)
    said = [f"{key} {own[key]}" for key in apart[:NAMED] if key in own] + ["..."] * (len(apart) > NAMED)
    if len(peers) < len(alike):
        said = [run.command, *said]
    return f"{describe(run)} ({', '.join(said)})" if said else describe(run)


def _common(run: Run) -> dict[str, Any]:
    """What the seeds of a row have in common beside command, protocol and data: start and settings, by dotted keys."""
    found = {**flatten(run.results.get("start") or {}, "start."), **flatten(run.settings)}
    # Every seed has pretraining of its own or shares one: the kind of encoder counts, not its file.
    found.pop("start.checkpoint", None)
    for key in ("checkpoint", "teacher.checkpoint"):
        if key in found:
            found[key] = bool(found[key])
    return {key: value for key, value in found.items() if key not in _FREE}


def _setting(run: Run) -> str:
    """All that a row's runs have in common, as a key."""
    return json.dumps([run.command, run.protocol, run.data, _common(run)], sort_keys=True, default=str)


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
    trained = (runs[0].results.get("parameters") or {}).get("trained")
    few = runs[0].results["metrics"].get("settings", {})
    for metric in metrics or _main(runs[0]):
        found = [(run.seed, _number(run, metric)) for run in runs]
        values = [(seed, value) for seed, value in found if value is not None]
        if values:
            seeds, numbers = [seed for seed, _ in values], [value for _, value in values]
            beside = _published(runs[0], metric)
            rows.append(Row(name, metric, dataset, fingerprint, runs[0].protocol, numbers, seeds, beside, trained))
    for setting in few if "oa" in metrics or not metrics else ():  # few-shot: one row a setting
        means = [run.results["metrics"]["settings"][setting]["mean"] for run in runs]
        beside = _published(runs[0], "oa", setting)
        seeds, row = [run.seed for run in runs], f"{name} {setting}"
        rows.append(Row(row, "oa", dataset, fingerprint, runs[0].protocol, means, seeds, beside, trained))
    return rows


def _main(run: Run) -> tuple[str, ...]:
    return next((group for group in MAIN if _number(run, group[0]) is not None), ())


def _published(run: Run, metric: str, setting: str = "") -> dict[str, str]:
    """Published numbers of the same kind: of full fine-tuning, so not beside frozen encoders or probes."""
    dataset, transfer = run.data[0], run.results.get("transfer")
    rooms = [str(room) for room in run.results.get("test_rooms", [])]
    if metric == "miou" and dataset == "s3dis" and rooms and all(room.startswith("Area_5_") for room in rooms):
        return RESULTS["s3dis Area_5"] if transfer in (None, "", "full") else {}  # runs of before said nothing
    if metric != "oa" or transfer != "full":
        return {}
    return published(dataset, run.results.get("points"), setting)


def _number(run: Run, metric: str) -> float | None:
    value = run.results["metrics"].get(metric)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

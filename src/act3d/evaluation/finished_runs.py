"""Results and settings of finished runs, read from their folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act3d.errors import InputError, reason_of
from act3d.files import read_json
from act3d.presets import load_yaml

# Names of metrics that earlier versions wrote -> today's names.
OLD_NAMES = {
    "taught": "pretrained",
    "untaught": "random",
    "untaught_knn": "random_knn",
    "fitted": "data_dependent",
    "fitted_knn": "data_dependent_knn",
}


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
    def command(self) -> str:
        """The command that made it."""
        return str(self.results.get("command", "?"))

    @property
    def protocol(self) -> str:
        """Protocol, with how the epoch was chosen."""
        return str(self.results.get("protocol_name") or self.results.get("protocol", "unknown"))

    @property
    def data(self) -> tuple[str, str]:
        """Name and fingerprint of its data."""
        data = self.results.get("data", {})
        return str(data.get("name", "?")), str(data.get("fingerprint", "?"))


def read_runs(path: Path) -> list[Run]:
    """Read a run folder's results.json and config.yaml; that of a quickstart counts as a run for every seed.

    Raises:
        InputError: not there (unfinished, or no run), or damaged.
    """
    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path} holds no results.json: no run, or one that is not finished")
    results, settings = read_json(file), _read_settings(file.with_name("config.yaml"))
    if isinstance(results, dict) and results.get("command") == "quickstart":
        each = _by_seed(results, file)
    else:
        each = [results]
    for one in each:
        _check_results(one, file)
        one["metrics"] = {OLD_NAMES.get(name, name): value for name, value in one["metrics"].items()}
    return [Run(file.parent, one, settings) for one in each]


def _by_seed(results: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    """The results of a quickstart as one result for every seed."""
    try:
        seeds, numbers = results["seed"], results["per_seed"]
        rows = [dict(zip(numbers, row, strict=True)) for row in zip(*numbers.values(), strict=True)]
        return [{**results, "seed": seed, "metrics": row} for seed, row in zip(seeds, rows, strict=True)]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{file} is damaged: per_seed must hold every seed's number for every kind") from None


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

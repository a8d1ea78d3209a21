"""`act3d report`: one page that shows what runs have learned, and how."""

from pathlib import Path

from act3d.errors import ConfigError
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.evaluation import ReportSettings


@command
def report(settings: ReportSettings) -> Path:
    """Write a page about finished runs.

    Returns:
        The page.

    Raises:
        CheckpointError: weights that are damaged.
        ConfigError: the folder of a quickstart beside other runs.
        InputError: a folder without a finished run, or data that are no longer there.
    """
    from act3d.evaluation.finished_runs import read_runs
    from act3d.report.run_page import write_run_page
    from act3d.use.run_page import run_page

    runs = [run for folder in settings.runs for run in read_runs(Path(folder))]
    wholes = [run.path for run in runs if run.command == "quickstart"]
    if wholes and len(settings.runs) > 1:
        raise ConfigError(f"runs: {wholes[0]} is a whole quickstart and has a page of its own; give it alone")
    if wholes:
        return _quickstart(wholes[0], settings.out)
    path = Path(settings.out) if settings.out else runs[0].path / "report.html"
    write_run_page(path, run_page(runs, settings.device))
    say(f"written: {path}")
    return path


def _quickstart(folder: Path, out: str) -> Path:
    """Probe the runs of a quickstart again and write its page."""
    from act3d.commands.quickstart import finish, probed_seed
    from act3d.files import read_json
    from act3d.use.run_report import read_settings

    seeds = [int(seed) for seed in read_json(folder / "results.json")["seed"]]
    root = str(read_settings(folder / f"stage2-seed{seeds[0]}")["data"]["root"])
    runs = [probed_seed(folder, seed, root) for seed in seeds]
    seconds = float(read_json(folder / "results.json")["duration_s"])
    return finish(folder, runs, root, f"act3d quickstart --out {folder}", seconds, out).report

"""`act3d search`: the shapes of a collection that are nearest to a given one."""

from pathlib import Path

from act3d.errors import ConfigError
from act3d.files import write_json
from act3d.lines import say, say_json
from act3d.settings.command import command
from act3d.settings.places import names_shapes
from act3d.settings.using import SearchSettings
from act3d.use.index import Index, open_index
from act3d.use.search import SearchReport, search_by_name, write_page


@command
def search(settings: SearchSettings) -> SearchReport:
    """Find the shapes of an indexed collection that are nearest to a mesh, a cloud, or one of them.

    Returns:
        The nearest shapes of every query, nearest first.
    """
    index = open_index(settings.index)
    report = _answer(settings, index)
    answers = {name: [vars(hit) for hit in hits] for name, hits in report.hits.items()}
    whole = {"index": str(index.folder), "seconds_per_query": report.seconds, "answers": answers}
    if settings.json_file and settings.json_file != "-":
        write_json(settings.json_file, whole)
    if settings.page:
        write_page(report, index, Path(settings.page))
    if settings.json_file == "-":
        say_json(whole)
        return report
    for table in report.tables():
        table.print()
    steps = ", ".join(f"{step} {1000 * seconds:.1f}" for step, seconds in report.seconds.items())
    say(f"ms per query ({len(index)} shapes in the index): {steps}")
    return report


def _answer(settings: SearchSettings, index: Index) -> SearchReport:
    if not names_shapes(settings.query):
        asked = {"up": settings.up != "auto", "split": settings.split, "checkpoint": settings.checkpoint}
        useless = [key for key, value in asked.items() if value]
        if useless:
            raise ConfigError(f"{useless[0]}: {settings.query!r} is no file, folder or pattern: no shape is read")
        return search_by_name(settings.query, index, settings.k)
    from act3d.use.search_shapes import search_index  # with torch

    return search_index(
        settings.query, index, settings.k, settings.up, settings.checkpoint, settings.split, settings.limit,
        settings.device,
    )  # fmt: skip

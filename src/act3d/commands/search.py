"""`act3d search`: the shapes of a collection that are nearest to a given one, or to words."""

import dataclasses
from pathlib import Path

from act3d.errors import ConfigError
from act3d.files import write_json
from act3d.lines import say, say_json
from act3d.settings.command import command
from act3d.settings.places import names_shapes
from act3d.settings.using import SearchSettings
from act3d.use.index import Index, open_index
from act3d.use.search import SearchReport, search_by_name, search_filtered, search_names, write_page


@command
def search(settings: SearchSettings) -> SearchReport:
    """Find the shapes of an indexed collection that are nearest to a shape, to words, or that a filter lets through.

    Returns:
        The nearest shapes of every query, nearest first.
    """
    _check(settings)
    index = open_index(settings.index)
    report = _answer(settings, index)
    answers = {name: [dataclasses.asdict(hit) for hit in hits] for name, hits in report.hits.items()}
    whole = {"index": index.place, "seconds_per_query": report.seconds, "answers": answers}
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


def _check(settings: SearchSettings) -> None:
    """Refuse what cannot be answered, before the index is opened."""
    if settings.named and (settings.shape or settings.text or settings.without):
        raise ConfigError(
            "named: searches in names alone; leave out the shape, --text and --without (--where may stay)"
        )
    if not any((settings.shape, settings.text, settings.without, settings.named, settings.where)):
        raise ConfigError('search: for what? Give a shape, --text "flat washer", --named or --where')
    read = bool(settings.shape) and names_shapes(settings.shape)
    reading = {"up": settings.up != "auto", "split": settings.split, "limit": settings.limit}
    useless = [key for key, value in reading.items() if value and not read]
    worded = bool(settings.text or settings.without)
    useless += ["checkpoint"] if settings.checkpoint and not read and not worded else []
    if settings.text_vectors and not worded:
        raise ConfigError("text_vectors: no words are asked for; give --text")
    if useless:
        asked = f"{settings.shape!r} is no file, folder or pattern" if settings.shape else "no shape is given"
        raise ConfigError(f"{useless[0]}: {asked}: no shape is read")


def _answer(settings: SearchSettings, index: Index) -> SearchReport:
    k, where = settings.k, settings.where
    if settings.named:
        return search_names(settings.named, index, k, where)
    worded = bool(settings.text or settings.without)
    read = bool(settings.shape) and names_shapes(settings.shape)
    if not worded and not read:
        return search_by_name(settings.shape, index, k, where) if settings.shape else search_filtered(where, index, k)
    from act3d.use import search_shapes  # with torch

    without = [phrase.strip() for phrase in settings.without.split(",") if phrase.strip()]
    words = search_shapes.Words(
        settings.text, without, settings.text_weight, settings.without_weight, settings.text_vectors
    )
    if not settings.shape:
        return search_shapes.search_words(words, index, k, where, settings.checkpoint)
    if not read:
        return search_shapes.search_like_named(settings.shape, words, index, k, where, settings.checkpoint)
    return search_shapes.search_index(
        settings.shape, index, k, settings.up, settings.checkpoint, settings.split, settings.limit, settings.device,
        where, words,
    )  # fmt: skip

"""`act3d inspect`: what a checkpoint is."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from act3d.lines import say_json
from act3d.settings.command import command
from act3d.settings.using import InspectSettings

if TYPE_CHECKING:
    from act3d.use.facts import HeaderReport, IndexFacts
    from act3d.use.inspection import InspectReport


@command
def inspect(settings: InspectSettings) -> "InspectReport | HeaderReport | IndexFacts":
    """Show a checkpoint: kind, config, parameters, operations, missing and left-over weights; or what an index holds.

    Returns:
        All of it.

    Raises:
        CheckpointError: the file cannot be read, or is no model's.
    """
    report = _report(settings)
    if settings.as_json:
        say_json(asdict(report))
    else:
        report.table().print()
    return report


def _report(settings: InspectSettings) -> "InspectReport | HeaderReport | IndexFacts":
    from act3d.files import has_index
    from act3d.use.facts import header_report, index_facts

    if has_index(settings.checkpoint):
        return index_facts(settings.checkpoint)
    if settings.header:
        return header_report(settings.checkpoint)
    from act3d.use.inspection import inspect_checkpoint  # with torch

    return inspect_checkpoint(settings.checkpoint)

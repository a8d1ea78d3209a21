"""`act3d inspect`: what a checkpoint is."""

from dataclasses import asdict

from act3d.lines import say_json
from act3d.settings.command import command
from act3d.settings.using import InspectSettings
from act3d.use.inspection import InspectReport, inspect_checkpoint


@command
def inspect(settings: InspectSettings) -> InspectReport:
    """Show a checkpoint: kind, config, parameters, operations, missing and left-over weights.

    Returns:
        All of it.

    Raises:
        CheckpointError: the file cannot be read, or is no model's.
    """
    report = inspect_checkpoint(settings.checkpoint)
    if settings.as_json:
        say_json(asdict(report))
    else:
        report.table().print()
    return report

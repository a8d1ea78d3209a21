"""`act3d inspect`: what a checkpoint is."""

import json as json_format
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from act3d.settings.command import command
from act3d.settings.using import InspectSettings


@dataclass
class InspectReport:
    """What a checkpoint holds.

    parameters: all of the model's numbers that training can change or has frozen; stored: those inside the file.
    flops: floating point operations of one forward pass over one cloud of `points` points (a multiply-add counts
    two), in matrix products, convolutions and attention.
    """

    file: str
    format: str
    kind: str
    config: dict[str, Any]
    meta: dict[str, Any]
    parameters: int
    stored: int
    flops: int
    points: int
    missing: list[str]
    left_over: list[str]


@command
def inspect(settings: InspectSettings) -> InspectReport:
    """Say what a checkpoint is: kind, config, parameters, operations, what is missing or left over.

    Returns:
        All of it.

    Raises:
        CheckpointError: the file cannot be read, or is no model's.
    """
    from act3d import checkpoints
    from act3d.use.loading import load

    loaded = load(settings.checkpoint)
    path, model, points = checkpoints.resolve(settings.checkpoint), loaded.model, loaded.points
    report = InspectReport(
        str(path),
        "released" if loaded.meta.get("released") and path.suffix != ".safetensors" else "native",
        model.kind,
        model.config,
        {k: v for k, v in loaded.meta.items() if k != "settings"},
        sum(p.numel() for p in model.parameters()),
        sum(v.numel() for v in checkpoints.stored_state(model).values()),
        count_flops(model, points),
        points,
        loaded.missing,
        loaded.left_over,
    )
    if settings.as_json:
        print(json_format.dumps(asdict(report), indent=2, ensure_ascii=False))
    else:
        _print(report, path)
    return report


def count_flops(model: Any, points: int) -> int:
    """Operations of one forward pass over one cloud, from points to the model's main output."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from act3d.kernels.onednn import flop_formulas

    cloud = torch.rand(1, points, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    counter = FlopCounterMode(display=False, custom_mapping=flop_formulas())
    # The plain form of attention is made of matrix products, which every version of the counter knows.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        if model.kind == "segmenter":
            model(cloud, torch.zeros(1, dtype=torch.int64) if model.categories else None)
            return int(counter.get_total_flops())
        patches = model.patchify(cloud)
        if model.kind == "autoencoder":
            model.reconstruct(patches)
        elif model.kind == "classifier":
            model(patches)
        else:
            model.embed(patches)
    return int(counter.get_total_flops())


def _print(report: InspectReport, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        show_header=False, box=None, title=f"{path} ({path.stat().st_size / 1e6:.1f} MB)", title_justify="left"
    )
    table.add_row("kind", f"{report.kind} ({report.format})")
    table.add_row("parameters", f"{report.parameters:,} ({report.stored:,} numbers in the file)")
    table.add_row("operations", f"{report.flops / 1e9:.2f} GFLOP for a cloud of {report.points} points")
    for name, value in report.config.items():
        table.add_row(name, _short(value))
    for name, value in report.meta.items():
        if value not in (None, "", [], {}):
            table.add_row(f"meta.{name}", _short(value))
    for name, found in (("missing", report.missing), ("left over", report.left_over)):
        table.add_row(
            name, f"{len(found)}: {', '.join(found[:4])}{' ...' if len(found) > 4 else ''}" if found else "nothing"
        )
    Console().print(table, markup=False)


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 6:
        return f"{len(value)}: {', '.join(map(str, value[:5]))} ..."
    if isinstance(value, dict):
        return ", ".join(f"{k}={_short(v)}" for k, v in value.items())
    return str(value)

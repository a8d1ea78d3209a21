"""What a checkpoint is: kind, config, parameters, operations."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from act3d.channels import width_of
from act3d.checkpoints import stored_state
from act3d.kernels.onednn import flop_formulas
from act3d.native_header import written_by_act3d
from act3d.tables import Cell, Table, Tabular
from act3d.use.facts import short
from act3d.use.load import load


@dataclass(repr=False)
class InspectReport(Tabular):
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

    def table(self) -> Table:
        """One row a fact."""
        size = Path(self.file).stat().st_size / 1e6
        rows: list[Sequence[Cell]] = [
            ["kind", f"{self.kind} ({self.format})"],
            ["weights", _which_weights(Path(self.file))],
            ["parameters", f"{self.parameters:,} ({self.stored:,} numbers in the file)"],
            ["operations", f"{self.flops / 1e9:.2f} GFLOP for a cloud of {self.points} points"],
            *([name, short(value)] for name, value in self.config.items()),
            *([f"meta.{name}", short(value)] for name, value in self.meta.items() if value not in (None, "", [], {})),
            *([name, _some(found)] for name, found in (("missing", self.missing), ("left over", self.left_over))),
        ]
        return Table(["fact", "value"], rows, f"{self.file} ({size:.1f} MB)")

    def __repr__(self) -> str:
        return f"<InspectReport: {self.kind} with {self.parameters:,} parameters; {self.file}>"


def inspect_checkpoint(checkpoint: str) -> InspectReport:
    """Read a checkpoint and say what it is.

    Raises:
        CheckpointError: The file cannot be read, or is no model's.
    """
    found = load(checkpoint)
    model, path = found.model, found.path
    assert path is not None
    return InspectReport(
        str(path),
        "native" if path.suffix == ".safetensors" and written_by_act3d(path) else "released",
        found.kind,
        model.config,
        {name: value for name, value in found.meta.items() if name != "settings"},
        sum(parameter.numel() for parameter in model.parameters()),
        sum(value.numel() for value in stored_state(model).values()),
        count_flops(model, found.points),
        found.points,
        found.missing,
        found.left_over,
    )


def count_flops(model: Any, points: int) -> int:
    """Operations of one forward pass over one cloud, from points to the model's main output."""
    # The counter follows gradients of what a module is given, and fails where frozen and trained weights meet.
    model = copy.deepcopy(model).requires_grad_(False)
    cloud = (
        torch.rand(1, points, 3 + width_of(getattr(model, "channels", ())), generator=torch.Generator().manual_seed(0))
        - 0.5
    )
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


def _which_weights(path: Path) -> str:
    """Which weights of a run these are, and whether there are others."""
    others = {"best.safetensors": "last.safetensors", "last.safetensors": "best.safetensors"}
    other = others.get(path.name, "")
    if not other:
        return path.name
    what = {"best.safetensors": "the best by validation", "last.safetensors": "the last"}[path.name]
    beside = f"; {other} is beside them" if path.with_name(other).is_file() else ""
    return f"{path.name}: {what}{beside}"


def _some(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" if names else "nothing"

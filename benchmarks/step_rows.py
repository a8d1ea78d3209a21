"""The rows of whole steps; a module of its own, since each runs in a process of its own."""

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import int8, memory, steps
from benchmarks.measure import compare, flops

INT8 = "classifier_infer_int8"


class Step(NamedTuple):
    """A row of the table of steps: names of its two builders in `steps`, and whose sizes it has."""

    textbook: str
    ours: str
    sizes: str


STEPS = {
    "stage1_step": Step("stage1_textbook", "stage1_ours", "stage1"),
    "stage2_step": Step("stage2_textbook", "stage2_ours", "stage2"),
    "stage2_step_visible_only": Step("stage2_textbook", "stage2_visible_only", "stage2"),
    "classifier_step": Step("classifier_textbook", "classifier_ours", "classifier"),
    "classifier_1k_step": Step("classifier_textbook", "classifier_ours", "classifier_1k"),
    "classifier_8k_step": Step("classifier_textbook", "classifier_ours", "classifier_8k"),
    "classifier_infer": Step("infer_textbook", "infer_ours", "classifier"),
}


def _setting(options: argparse.Namespace, step: Step, ours: bool) -> steps.Setting:
    points, patches, cpu, cuda = steps.SIZES[step.sizes]
    batch = options.batch or (cuda if options.device == "cuda" else cpu)
    fast = ours and options.device == "cuda" and not options.fp32
    return steps.Setting(torch.device(options.device), batch, points, patches, bf16=fast, compiled=fast)


def step_row(name: str, options: argparse.Namespace, peak: float) -> dict[str, Any]:
    """One step, both forms in turn."""
    device, step = torch.device(options.device), STEPS[name]
    settings = [_setting(options, step, ours) for ours in (False, True)]
    textbook, ours = (getattr(steps, builder)(setting) for builder, setting in zip(step[:2], settings, strict=True))
    measured = compare(textbook, ours, options.repeats, device, options.clock)
    # Counted on the uncompiled form: the counter sees what is dispatched.
    work = flops(getattr(steps, step.ours)(settings[1]._replace(compiled=False)))
    row: dict[str, Any] = {"name": name, "group": "steps", "batch": settings[0].batch, **measured._asdict()}
    row |= {"gflop": work / 1e9, "peak_share": work / measured.ours_s / peak}
    if not options.quick:
        for form, builder, setting in zip(("textbook", "ours"), step[:2], settings, strict=True):
            alone = memory.of_step(builder, setting)
            row[f"{form}_mb"] = None if alone is None else alone.megabytes
    return row


def int8_row(options: argparse.Namespace, peak: float) -> dict[str, Any]:
    """Inference of the classifier in int8 by onnxruntime; no share of a peak that was measured in float32."""
    device, setting = torch.device(options.device), _setting(options, STEPS["classifier_infer"], ours=False)
    with tempfile.TemporaryDirectory() as folder:
        ours = int8.infer(setting, Path(folder))
        measured = compare(steps.infer_textbook(setting), ours, options.repeats, device, options.clock)
    return {"name": INT8, "group": "steps", "batch": setting.batch, **measured._asdict(), "peak_share": None}

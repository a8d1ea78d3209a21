"""`act3d export`: a model for other runtimes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act3d.commands.embed import load_model
from act3d.errors import ConfigError, InputError
from act3d.settings.command import command
from act3d.settings.using import ExportSettings
from act3d.use.shapes import find_shapes

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass
class ExportReport:
    """What `export` wrote: the file, its outputs, its largest differences to PyTorch, and what int8 costs (or {})."""

    out: Path
    outputs: tuple[str, ...]
    differences: dict[str, float]
    int8: Path | None
    int8_loss: dict[str, float]


@command
def export(settings: ExportSettings) -> ExportReport:
    """Write a model as ONNX: points (B, N, 3) in, the model's answer out, for any B and N.

    Returns:
        Files, outputs and differences.

    Raises:
        MissingDependency: the packages of act3d[onnx] are missing.
        CheckpointError: no such checkpoint, or the exported model differs from PyTorch.
    """
    checkpoint, out, data = settings.checkpoint, settings.out, settings.data
    from act3d.use.onnx import export_onnx, quantize

    if not out.endswith(".onnx"):
        raise ConfigError(f"--out: {out} must end in .onnx")
    model = load_model(checkpoint, "cpu")
    points, labels = _clouds(model, data, settings.split, settings.limit)
    made = export_onnx(model.model, out, points[:4])
    exact = ", ".join(f"{name} {value:.1e}" for name, value in made.differences.items())
    print(f"{out}: {Path(out).stat().st_size / 1e6:.1f} MB; largest difference to PyTorch: {exact}")
    if not settings.int8:
        return ExportReport(made.path, made.outputs, made.differences, None, {})
    small = quantize(out, Path(out).with_suffix(".int8.onnx"))
    loss = int8_loss(model, made.path, small, points, labels)
    print(f"{small}: {small.stat().st_size / 1e6:.1f} MB; on {len(points)} clouds of {data}:")
    for name, value in loss.items():
        print(f"  {name}: {value:.4g}")
    return ExportReport(made.path, made.outputs, made.differences, small, loss)


def _clouds(model: Any, data: str, split: str, limit: int) -> "tuple[Tensor, list[str]]":
    """Clouds to compare on, as the model takes them, and their classes."""
    import torch

    try:
        shapes = find_shapes(data, model.meta, split)
    except InputError:
        if data != "sample":
            raise
        generator = torch.Generator().manual_seed(0)  # no sample in this installation: noise will do for comparing
        return torch.rand(4, model.points, 3, generator=generator) * 2 - 1, [""] * 4
    step = max(1, len(shapes.items) // limit)
    places = list(range(0, len(shapes.items), step))[:limit]
    parts = [points for _, points, _ in shapes.batches(places, model, 32, 0, None)]
    return torch.cat(parts), [shapes.items[i].label for i in places]


def int8_loss(model: Any, exact: Path, small: Path, points: "Tensor", labels: list[str]) -> dict[str, float]:
    """What int8 costs, in the model's own currency, and the seconds for a cloud of both files."""
    import time

    from act3d.use.onnx import onnx_session

    results, seconds = [], []
    for path in (exact, small):
        run = onnx_session(path)
        run(points[:1].numpy())  # warm up
        began = time.perf_counter()
        results.append([run(points[i : i + 8].numpy())[0] for i in range(0, len(points), 8)])
        seconds.append((time.perf_counter() - began) / len(points))
    import numpy as np

    float32, int8 = (np.concatenate(parts) for parts in results)
    loss = _loss(model, float32, int8, labels)
    return loss | {"ms per cloud, float32": 1000 * seconds[0], "ms per cloud, int8": 1000 * seconds[1]}


def _loss(model: Any, float32: "np.ndarray", int8: "np.ndarray", labels: list[str]) -> dict[str, float]:
    import numpy as np

    from act3d.evaluation.retrieval import measure_scaling, retrieval_quality

    if model.kind == "autoencoder":
        return {"codes that stay the same, %": 100 * float((float32 == int8).mean())}
    if model.kind in ("classifier", "segmenter"):
        a, b = float32.argmax(-1), int8.argmax(-1)
        loss = {"answers that stay the same, %": 100 * float((a == b).mean())}
        names = list(model.meta.get("classes") or [])
        if model.kind == "classifier" and names and set(labels) <= set(names):
            truth = np.array([names.index(label) for label in labels])
            loss |= {"accuracy float32, %": 100 * float((a == truth).mean())}
            loss |= {"accuracy int8, %": 100 * float((b == truth).mean())}
        return loss
    unit = [measure_scaling(float32)(vectors) for vectors in (float32, int8)]
    loss = {"mean cosine between float32 and int8": float((unit[0] * unit[1]).sum(1).mean())}
    if len(set(labels) - {""}) > 1:
        for name, vectors in zip(("float32", "int8"), unit, strict=True):
            quality = retrieval_quality(vectors, labels)
            loss |= {f"mAP {name}, %": quality.mean_ap, f"nearest neighbour right {name}, %": quality.recall[1]}
    return loss

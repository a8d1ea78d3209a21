"""`act3d export`: a model for other runtimes, and the vectors of texts beside it."""

from dataclasses import dataclass
from pathlib import Path

from act3d.errors import ConfigError
from act3d.lines import say
from act3d.progress import phase
from act3d.settings.command import command
from act3d.settings.using import ExportSettings
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.int8 import example_clouds, int8_loss
from act3d.use.load import load
from act3d.use.onnx import export_onnx, quantize
from act3d.use.text_vectors import check_path, split_labels


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
    """Write a model as ONNX: points (B, N, 3) in, the model's answer out, for any B and N; or vectors of texts.

    Returns:
        Files, outputs and differences.

    Raises:
        MissingDependency: the packages of act3d[onnx] are missing.
        CheckpointError: no such checkpoint, or the exported model differs from PyTorch.
    """
    if settings.format == "texts":
        return _export_texts(settings)
    out = Path(settings.out)
    if out.suffix != ".onnx":
        raise ConfigError(f"out: {out} must end in .onnx")
    predictor = load(settings.checkpoint, "cpu")
    points, labels = example_clouds(predictor, settings.data, settings.split, settings.limit)
    with phase("writing the graph, and comparing it with PyTorch"):
        made = export_onnx(predictor.model, out, points[:4])
    exact = ", ".join(f"{name} {value:.1e}" for name, value in made.differences.items())
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB; largest difference to PyTorch: {exact}")
    if not settings.int8:
        return ExportReport(made.path, made.outputs, made.differences, None, {})
    with phase(f"int8, and what it costs on {len(points)} clouds"):
        small = quantize(out, out.with_suffix(".int8.onnx"))
        loss = int8_loss(predictor, made.path, small, points, labels)
    say(f"{small}: {small.stat().st_size / 1e6:.1f} MB; on {len(points)} clouds:")
    for name, value in loss.items():
        say(f"  {name}: {value:.4g}")
    return ExportReport(made.path, made.outputs, made.differences, small, loss)


def _export_texts(settings: ExportSettings) -> ExportReport:
    """Write words with their vectors."""
    out, words = check_path(settings.out), split_labels(settings.labels)
    if not words:
        raise ConfigError('labels: give the words whose vectors are to be written, such as --labels "chair,table"')
    known = load(settings.checkpoint, "cpu", expect=AlignedPredictor).text_vectors(words)
    known.write(out)
    say(f"{out}: {len(words)} texts, vectors of {known.vectors.shape[1]} numbers; for {settings.checkpoint}")
    return ExportReport(out, ("texts", "vectors"), {}, None, {})

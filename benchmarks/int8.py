"""Inference of the classifier in int8, through our ONNX export and onnxruntime."""

from pathlib import Path

import torch

from act3d.models.classifier import Classifier
from act3d.use.onnx import export_onnx, onnx_session, quantize
from benchmarks.measure import Work
from benchmarks.steps import CLASSES, Setting, clouds


def infer(setting: Setting, folder: Path) -> Work:
    """Logits of a batch. Only speed is measured; `act3d export --int8` measures accuracy on trained weights."""
    import onnxruntime  # noqa: F401  # a missing package is reported before the export, which takes minutes

    model = Classifier(CLASSES, setting.patches).eval()
    points = clouds(setting)
    exported = export_onnx(model, folder / "float.onnx", points)
    session = onnx_session(quantize(exported.path, folder / "int8.onnx"))
    array = points.numpy()

    def run() -> object:
        with torch.no_grad():
            return session(array)

    return run

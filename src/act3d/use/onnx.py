"""Models as ONNX files for other runtimes: points in, everything else inside, sampling and grouping too.

Farthest point sampling is unrolled, one step a patch; neighbours come from all distances by top-k. Ties of
both go to the lower index, in ONNX as in `geometry.patchify`, so the patches are the same.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from act3d.errors import CheckpointError, MissingDependency
from act3d.files import atomic_path
from act3d.geometry import Patches, gather, knn
from act3d.installing import how_to_install
from act3d.kernels.dispatch import exporting
from act3d.models.few_weights import merge_lora

OPSET = 18
OUTPUTS: dict[str, tuple[str, ...]] = {
    "autoencoder": ("tokens", "features", "reconstruction"),
    "classifier": ("logits",),
    "segmenter": ("logits",),
}


def outputs_of(model: Any) -> tuple[str, ...]:
    """Names of what a model gives; a student of any method of pretraining gives what its encoder does, and, if it
    learnt names, where its clouds are among texts."""
    placed = ("text_vector",) if getattr(model, "alignment", None) is not None else ()
    return OUTPUTS.get(model.kind, ("embedding", "patch_features", *placed))


class Exported(NamedTuple):
    """The file; outputs by name; for each the largest difference to PyTorch, relative to its largest value."""

    path: Path
    outputs: tuple[str, ...]
    differences: dict[str, float]


def traceable_patches(points: Tensor, patches: int, patch_size: int) -> Patches:
    """`geometry.patchify` in operations that exporters know, for any B and N.

    Args:
        points: Tensor with shape (B, N, 3 + F), N >= patches and patch_size.
    """
    points, beside = points[..., :3], points[..., 3:]
    x, y, z = points.unbind(2)
    nearest = torch.full_like(x, torch.inf)
    last = torch.zeros_like(x[:, :1], dtype=torch.int64)
    picked = []
    for _ in range(patches):
        picked.append(last)
        dx, dy, dz = (plane - plane.gather(1, last) for plane in (x, y, z))
        nearest = torch.minimum(nearest, dx * dx + dy * dy + dz * dz)
        last = nearest.argmax(dim=1, keepdim=True)
    centers = gather(points, torch.cat(picked, dim=1))  # (B, G, 3)
    found = knn(centers, points, patch_size)
    neighborhoods = gather(points, found) - centers.unsqueeze(2)  # (B, G, M, 3)
    if beside.shape[2]:
        neighborhoods = torch.cat([neighborhoods, gather(beside, found)], dim=3)  # (B, G, M, 3 + F)
    return Patches(neighborhoods, centers)


class Runner(nn.Module):
    """A model as one function of points, with the outputs of `OUTPUTS`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def cut(self, points: Tensor) -> Patches:
        """Patches in operations that exporters know while tracing, by the model's own way otherwise."""
        model = self.model
        if exporting():
            return traceable_patches(points, model.patches, model.patch_size)
        patches: Patches = model.patchify(points)
        return patches

    def forward(self, points: Tensor, category: Tensor | None = None) -> tuple[Tensor, ...]:
        """points (B, N, 3 + F) [, category (B,)] -> outputs."""
        model = self.model
        if model.kind == "segmenter":
            return (model.label_points(points, self.cut(points), category),)
        patches = self.cut(points)
        if model.kind == "classifier":
            return (model(patches),)
        if model.kind == "autoencoder":
            features = model.features(patches)
            return model.tokens(patches), features, model.decode(features, patches.centers).points
        encoded = model.encoder(patches)
        placed = () if model.alignment is None else (model.place_encoded(encoded),)
        return encoded.pooled(), encoded.patches, *placed


def export_onnx(model: Any, path: str | Path, points: Tensor, tolerance: float = 1e-3) -> Exported:
    """Write a model as ONNX with dynamic batch and number of points, and compare it with PyTorch by onnxruntime.

    Args:
        model: Any model of act3d, on the CPU.
        path: File to write, whole or not at all.
        points: Clouds (B, N, 3 + F) to compare on; B >= 2.
        tolerance: Largest difference allowed, relative to the largest value of each output.

    Raises:
        MissingDependency: onnx, onnxscript or onnxruntime is missing.
        CheckpointError: The exported model does not give what PyTorch gives.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package)
    model = merge_lora(model.float().eval())
    runner = Runner(model).eval()
    example: list[Tensor] = [points[:2].contiguous()]
    least = max(model.patches, model.patch_size)
    names, shapes = ["points"], [{0: torch.export.Dim("batch"), 1: torch.export.Dim("points", min=least)}]
    if model.kind == "segmenter" and model.categories:
        example.append(torch.zeros(2, dtype=torch.int64))
        names, shapes = [*names, "category"], [*shapes, {0: torch.export.Dim("batch")}]
    outputs = outputs_of(model)
    program = onnx_program(runner, tuple(example), names, shapes, outputs)
    with atomic_path(path) as temporary:
        program.save(str(temporary), external_data=False)
        differences = compare(temporary, runner, points)
        worst = max(differences, key=lambda name: differences[name])
        if not differences[worst] <= tolerance:
            raise CheckpointError(f"{path}: not written: {worst} differs from PyTorch's by {differences[worst]:.2g}")
    return Exported(Path(path), outputs, differences)


def onnx_program(
    runner: nn.Module, example: tuple[Tensor, ...], names: list[str], shapes: list[Any], outputs: Sequence[str]
) -> Any:
    """A module as a program of ONNX that can be saved.

    Args:
        runner: The module, in eval mode.
        example, names, shapes: Its inputs: examples, names, and the dimensions that may be of any size.
        outputs: Names of its outputs.

    Raises:
        MissingDependency: An older torch.
    """
    if not hasattr(torch.compiler, "is_exporting"):
        raise MissingDependency(f"writing ONNX needs torch 2.7 or newer, this is {torch.__version__}")
    # It says four times that torchvision, which nothing here needs, is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.export.export(runner, example, dynamic_shapes=tuple(shapes), strict=False)
        program = torch.onnx.export(
            graph,
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    return program


def require(package: str) -> None:
    """Raise MissingDependency if a package is not installed."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise MissingDependency(f"ONNX needs {package}: {how_to_install('onnx')}")


def onnx_session(path: str | Path) -> Callable[[NDArray[np.float32]], list[NDArray[Any]]]:
    """A function from points (B, N, 3 + F) to what an ONNX file gives, on the CPU (where it asks for a category, 0)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    asks = {item.name for item in session.get_inputs()}

    def run(points: NDArray[np.float32]) -> list[NDArray[Any]]:
        feed: dict[str, Any] = {"points": np.ascontiguousarray(points, dtype=np.float32)}
        if "category" in asks:
            feed["category"] = np.zeros(len(points), dtype=np.int64)
        return list(session.run(None, feed))

    return run


def compare(path: str | Path, runner: Runner, points: Tensor) -> dict[str, float]:
    """Largest differences between ONNX and the model in PyTorch, on all clouds, on one alone, and on fewer points."""
    run, outputs = onnx_session(path), outputs_of(runner.model)
    least = max(runner.model.patches, runner.model.patch_size)
    worst = dict.fromkeys(outputs, 0.0)
    for clouds in (points, points[:1], points[:, : max(least, points.shape[1] - 7)]):
        category = torch.zeros(len(clouds), dtype=torch.int64) if getattr(runner.model, "categories", 0) else None
        with torch.no_grad():
            wanted = runner(clouds, category)
        for name, found, expected in zip(outputs, run(clouds.numpy()), wanted, strict=True):
            worst[name] = max(worst[name], difference(name, found, expected.numpy()))
    return worst


def difference(name: str, found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference of an output, relative to the largest value expected; of codes the share of other ones."""
    if name == "tokens":  # codes: the share that is another one
        return float(np.mean(found != expected))
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


def quantize(path: str | Path, out: str | Path) -> Path:
    """Write a copy whose matrix products run in int8, weights per channel, activations by their range at run time."""
    require("onnxruntime")
    import logging

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with atomic_path(out) as temporary:
        logging.disable(logging.WARNING)
        try:
            model = onnx.load(str(path))
            del model.graph.value_info[:]  # shapes noted on export would contradict those of quantised weights
            quantize_dynamic(model, str(temporary), per_channel=True, weight_type=QuantType.QInt8,
                             op_types_to_quantize=["MatMul", "Gemm"])  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    return Path(out)

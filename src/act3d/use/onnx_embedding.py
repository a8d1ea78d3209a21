"""Embeddings by onnxruntime on the CPU, in float32 or int8, and how far they are from PyTorch's.

Clouds are cut into patches by the model's own way; the network behind is an ONNX file, made once and kept, hidden,
beside the checkpoint. It notes the digest of the weights that it was made of, and is made anew if they have changed.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from act3d.channels import width_of
from act3d.errors import CheckpointError, ConfigError, reason_of
from act3d.files import atomic_path, cache_folder
from act3d.geometry import Patches
from act3d.known_models import weights_folder
from act3d.lines import say
from act3d.progress import phase
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.embed_shapes import facts_of
from act3d.use.load import load
from act3d.use.onnx import difference, onnx_program, quantize, require
from act3d.use.points import Points
from act3d.use.shape_predictors import EncoderPredictor

BACKENDS = ("torch", "onnx", "onnx-int8")
TOLERANCE = 1e-3  # of the float32 file, relative to the largest value
EVERY, MOST = 16, 128  # clouds compared with PyTorch: the first 16, then each 16th, 128 in all
FORM = "1"  # of the files; another number makes all of them anew


class FromPatches(nn.Module):
    """The part of `embed` that is exported."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, neighborhoods: Tensor, centers: Tensor) -> Tensor:
        """(B, G, M, 3 + F), (B, G, 3) -> (B, 2C)."""
        embedded: Tensor = self.model.embed(Patches(neighborhoods, centers))
        return embedded


class OnnxEncoderPredictor(EncoderPredictor[Any]):
    """An encoder whose embeddings are computed by onnxruntime; everything else is as in `EncoderPredictor`.

    Activations are quantized by the range of a whole batch, so that an int8 embedding depends a little on the clouds
    beside it.

    Args:
        torch_one: The predictor in PyTorch, on the CPU, of a file.
        backend: "onnx" (float32) or "onnx-int8".

    Raises:
        MissingDependency: A package of act3d[onnx] is missing.
        CheckpointError: onnxruntime does not give what PyTorch gives (of the float32 file).
    """

    def __init__(self, torch_one: EncoderPredictor[Any], backend: str) -> None:
        super().__init__(
            torch_one.model.float(), torch_one.meta, torch_one.left_over, torch_one.missing, torch_one.path
        )
        self.backend = backend
        self.run = _network(self, backend)
        self.seen = 0
        self.pairs: list[NDArray[np.float32]] = []  # (2, F) each: PyTorch's embedding and this one

    @torch.no_grad()
    def embed(self, points: Points) -> Tensor:
        """One vector a cloud (B, 2C), by onnxruntime; some of them are compared with PyTorch's."""
        patches = self.patchify(points)
        found = self.run(patches)
        numbers = range(self.seen, self.seen + len(found))
        chosen = [i for i, number in enumerate(numbers) if number < EVERY or number % EVERY == 0]
        chosen = chosen[: MOST - len(self.pairs)]
        self.seen += len(found)
        if chosen:
            wanted = self.model.embed(Patches(*(part[chosen] for part in patches))).numpy()
            self.pairs += [np.stack(pair) for pair in zip(wanted, found[chosen], strict=True)]
        return torch.from_numpy(found)

    def loss(self) -> dict[str, float]:
        """How near the embeddings are to PyTorch's in float32; {} before any was computed.

        Returns:
            Clouds compared; mean and least cosine, as the vectors are, and less PyTorch's mean vector: what all
            embeddings have in common makes plain cosines high.
        """
        if not self.pairs:
            return {}
        exact, ours = np.stack(self.pairs, axis=1).astype(np.float64)  # (S, F) each
        plain = _cosines(exact, ours)
        loss = {"clouds": len(exact), "mean cosine": plain.mean(), "least cosine": plain.min()}
        if len(exact) > 1:
            centred = _cosines(exact - exact.mean(0), ours - exact.mean(0))
            loss |= {"mean centred cosine": centred.mean(), "least centred cosine": centred.min()}
        return {name: float(value) for name, value in loss.items()}

    def say_loss(self) -> dict[str, float]:
        """Print that, where anything was embedded, and return it."""
        loss = self.loss()
        if loss:
            numbers = ", ".join(f"{name} {value:.5f}" for name, value in loss.items() if name != "clouds")
            say(f"{self.backend} against float32 PyTorch, {loss['clouds']:.0f} of the shapes: {numbers}")
        return loss


class OnnxAlignedPredictor(OnnxEncoderPredictor, AlignedPredictor[Any]):
    """Such an encoder that learnt names: words name its shapes and find them."""


def load_encoder(path: str | Path, device: str, backend: str) -> EncoderPredictor[Any]:
    """Load an encoder that embeds by a backend: the one door of embed, index and search.

    Raises:
        ConfigError: onnxruntime is asked to compute elsewhere than on the CPU.
        CheckpointError, MissingDependency: See `load` and `OnnxEncoderPredictor`.
    """
    if backend not in BACKENDS:  # of an index; settings check their own
        raise ConfigError(f"backend: {backend!r} is not known; allowed: {', '.join(BACKENDS)}")
    if backend == "torch":
        return load(path, device, expect=EncoderPredictor)
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device: {device!r} with backend {backend}, which computes on the CPU; allowed: auto, cpu")
    require("onnxruntime")
    torch_one = load(path, "cpu", expect=EncoderPredictor)
    made = OnnxAlignedPredictor if isinstance(torch_one, AlignedPredictor) else OnnxEncoderPredictor
    return made(torch_one, backend)


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = (a * b).sum(1) / np.maximum(lengths, 1e-30)
    return cosines


def _network(predictor: OnnxEncoderPredictor, backend: str) -> Callable[[Patches], NDArray[np.float32]]:
    """What runs the exported network; it is written beside the checkpoint if it is not there.

    For checkpoints that come with act3d, or lie where nothing can be written, it lies in the cache folder.
    """
    assert predictor.path is not None
    name, folder = f".{predictor.path.stem}.{backend}.onnx", predictor.path.parent
    own = folder != weights_folder() and os.access(folder, os.W_OK)
    path = (folder if own else cache_folder()) / name
    mark = f"{facts_of(predictor)['checkpoint']} {FORM}"
    session = _opened(path, mark)
    if session is None:
        with phase(f"exporting the encoder for {backend}, once"):
            _write(predictor.model, path, backend, mark)
        session = _opened(path, mark)
    if session is None:
        raise CheckpointError(f"{path}: was replaced while it was read; run the command again")
    return _runs(session)


def _runs(session: Any) -> Callable[[Patches], NDArray[np.float32]]:
    def run(patches: Patches) -> NDArray[np.float32]:
        feed = {name: part.contiguous().numpy() for name, part in patches._asdict().items()}
        found: NDArray[np.float32] = session.run(None, feed)[0]
        return found

    return run


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()  # it would count cores, not what a container may use
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waits would take the cores of others
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _opened(path: Path, mark: str) -> Any:
    """A session of the file, if it was made of these weights; else None."""
    if not path.is_file():
        return None
    try:
        session = _session(path)
    except Exception as error:  # onnxruntime has no common class of errors; all mean a damaged file
        say(f"act3d: {path}: cannot be read ({reason_of(error)}); it is made anew", error=True)
        return None
    return session if session.get_modelmeta().custom_metadata_map.get("act3d") == mark else None


def _write(model: Any, path: Path, backend: str, mark: str) -> None:
    for package in ("onnx", "onnxscript"):
        require(package)
    import onnx

    generator = torch.Generator().manual_seed(0)
    width = 3 + width_of(model.channels)
    points = torch.rand(3, 2 * max(model.patches, model.patch_size), width, generator=generator) * 2 - 1
    patches, runner = model.patchify(points), FromPatches(model).eval()
    batch = {0: torch.export.Dim("batch")}
    program = onnx_program(runner, tuple(patches), list(Patches._fields), [batch, batch], ["embedding"])
    with atomic_path(path) as temporary:
        program.save(str(temporary), external_data=False)
        run = _runs(_session(temporary))
        with torch.no_grad():
            off = difference("embedding", run(patches), runner(*patches).numpy())
        if not off <= TOLERANCE:
            raise CheckpointError(f"{path}: not written: embedding differs from PyTorch's by {off:.2g}")
        if backend == "onnx-int8":
            quantize(temporary, temporary)
        made = onnx.load(str(temporary))
        onnx.helper.set_model_props(made, {"act3d": mark})
        onnx.save(made, str(temporary))

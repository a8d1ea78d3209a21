"""Embeddings by PyTorch and by onnxruntime: `python -m benchmarks --only embedding`.

Two sizes of student with fixed weights, random and fitted to the sample's clouds (data-dependent initialization): what
int8 loses on them is not what it loses on trained weights, which `act3d embed` measures.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import act3d
from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.evaluation.frozen_encoder import fitted_twin
from act3d.models.student import Student
from act3d.samples import SAMPLE
from act3d.use.onnx_embedding import MOST, OnnxEncoderPredictor, load_encoder

SIZES = {"small": (32, 32, 192, 4, 3), "released": (64, 32, 384, 12, 6)}  # patches, patch size, width, depth, heads
BATCH, CLOUDS = 32, 128


def table(repeats: int, quick: bool, only: str = "") -> Iterator[dict[str, Any]]:
    """One row a size and backend: clouds a processor second of PyTorch and of it, median ratio, spread, cosines."""
    sample = open_dataset(SAMPLE, "train", points=1024)
    points = sample.fetch(list(range(0, len(sample), max(1, len(sample) // CLOUDS)))[:CLOUDS], epoch=0)["points"]
    for size in list(SIZES)[: 1 if quick else None]:
        for backend in ("onnx", "onnx-int8"):
            if only in f"{size} {backend}":
                yield {"name": f"{size} {backend}", **_compared(size, backend, sample, points, repeats)}


def show(row: dict[str, Any]) -> str:
    """One line of the table."""
    return (
        f"{row['name']:<20}{row['torch_rate']:>7.1f} ->{row['rate']:>7.1f} clouds a processor second "
        f"({row['ratio']:.2f}, {row['least_ratio']:.2f} to {row['most_ratio']:.2f}; wall {row['wall_ratio']:.2f})   "
        f"export {row['export_s']:.0f} s   cosine {row['mean cosine']:.5f}, least {row['least cosine']:.5f}; "
        f"centred {row['mean centred cosine']:.4f}, least {row['least centred cosine']:.4f}"
    )


def _compared(size: str, backend: str, sample: CloudDataset, points: torch.Tensor, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = _student(Path(folder) / "student.safetensors", size, sample)
        plain, began = act3d.load(path), time.process_time()
        other = load_encoder(path, "cpu", backend)
        row: dict[str, Any] = {"export_s": time.process_time() - began}
        assert isinstance(other, OnnxEncoderPredictor)
        while len(other.pairs) < MOST:  # later clouds are not compared: these would be timed too
            for part in points.split(BATCH):
                other.embed(part)
        plain.embed(points[:BATCH])
        row |= other.loss()
        pairs = [(_seconds(plain, points), _seconds(other, points)) for _ in range(repeats)]
    ratios = [before[0] / now[0] for before, now in pairs]
    row |= {"ratio": statistics.median(ratios), "least_ratio": min(ratios), "most_ratio": max(ratios)}
    row["wall_ratio"] = statistics.median(before[1] / now[1] for before, now in pairs)
    for place, name in enumerate(("torch_rate", "rate")):
        row[name] = len(points) / statistics.median(pair[place][0] for pair in pairs)
    return row


def _student(path: Path, size: str, sample: CloudDataset) -> Path:
    patches, patch_size, width, depth, heads = SIZES[size]
    model = Student(patches, patch_size, width, depth, heads, decoder_depth=1, decoder_heads=heads)
    return act3d.save(fitted_twin(model, 0, sample, BATCH), path, {"points": sample.points})


def _seconds(predictor: Any, points: torch.Tensor) -> tuple[float, float]:
    """Processor and wall seconds of an embedding of all clouds."""
    used, began = time.process_time(), time.perf_counter()
    for part in points.split(BATCH):
        predictor.embed(part)
    return time.process_time() - used, time.perf_counter() - began

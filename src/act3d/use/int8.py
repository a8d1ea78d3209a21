"""What int8 costs an exported model, measured on labelled clouds."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act3d.channels import width_of
from act3d.data.opening import choose_source
from act3d.errors import ConfigError, InputError
from act3d.evaluation.retrieval import measure_scaling, retrieval_quality
from act3d.lines import say
from act3d.samples import SAMPLE
from act3d.use.onnx import onnx_session
from act3d.use.predictor import Predictor
from act3d.use.reading import Reading
from act3d.use.shapes import Shapes, find_shapes


def example_clouds(predictor: Predictor[Any], data: str, split: str, limit: int) -> tuple[Tensor, list[str]]:
    """Clouds (B, N, 3) to compare on, as the model takes them, and their classes."""
    shapes = _own_shapes(predictor, split) if not data else find_shapes(data, predictor, split)
    if shapes is None:
        generator = torch.Generator().manual_seed(0)  # no sample in this installation: noise will do for comparing
        return torch.rand(4, predictor.points, 3 + width_of(predictor.channels), generator=generator) * 2 - 1, [""] * 4
    step = max(1, len(shapes.items) // limit)
    places = list(range(0, len(shapes.items), step))[:limit]
    parts = [points for _, points, _, _ in shapes.batches(places, predictor, Reading())]
    return torch.cat(parts), [shapes.items[i].label for i in places]


def _own_shapes(predictor: Predictor[Any], split: str) -> Shapes | None:
    """The shapes that the model was trained on, else the sample's, said aloud; None where there is no sample."""
    try:
        source = choose_source(predictor.meta, "")
        found = find_shapes(source.root, predictor, split, source.subset)
        say(f"act3d: {source.notes[0].replace('--data.root', '--data')}", error=True)
    except (ConfigError, InputError):
        try:
            found = find_shapes(SAMPLE, predictor, split)
        except InputError:
            return None
        say(
            "act3d: data: the sample, since the model's own data holds no shapes here; --data names another", error=True
        )
    return found


def int8_loss(
    predictor: Predictor[Any], exact: Path, small: Path, points: Tensor, labels: list[str]
) -> dict[str, float]:
    """What int8 costs in the numbers that count for this kind of model, and the milliseconds a cloud of both files."""
    results, seconds = [], []
    for path in (exact, small):
        run = onnx_session(path)
        run(points[:1].numpy())  # warm up
        began = time.perf_counter()
        results.append([run(points[i : i + 8].numpy())[0] for i in range(0, len(points), 8)])
        seconds.append((time.perf_counter() - began) / len(points))
    float32, int8 = (np.concatenate(parts) for parts in results)
    loss = _loss(predictor, float32, int8, labels)
    return loss | {"ms per cloud, float32": 1000 * seconds[0], "ms per cloud, int8": 1000 * seconds[1]}


def _loss(predictor: Predictor[Any], float32: NDArray[Any], int8: NDArray[Any], labels: list[str]) -> dict[str, float]:
    if predictor.kind == "autoencoder":
        return {"codes that stay the same, %": 100 * float((float32 == int8).mean())}
    if predictor.kind in ("classifier", "segmenter"):
        a, b = float32.argmax(-1), int8.argmax(-1)
        loss = {"answers that stay the same, %": 100 * float((a == b).mean())}
        names = [str(name) for name in predictor.names]
        if predictor.kind == "classifier" and set(labels) <= set(names):
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

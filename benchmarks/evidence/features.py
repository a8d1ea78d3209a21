"""Frozen features of a method, and what simple classifiers make of them. Judged shapes choose nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.evaluation.features import Features, embed, plain_features
from act3d.evaluation.frozen_encoder import embedding_of, fitted_twin, random_twin
from act3d.evaluation.probe import knn_probe, linear_probe, probe_tasks
from act3d.evaluation.retrieval import measure_scaling, retrieval_quality
from act3d.models.aligned import Aligned
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.load import load
from benchmarks.evidence.methods import Method

POINTS = 1024
WAY, SHOT, TASKS = 5, 10, 10
ENCODER = {"patches": 32, "width": 192, "depth": 4, "heads": 3, "drop_path": 0.0}  # of small/pretrain
Embed = Callable[[Tensor], Tensor]
Numbers = dict[str, Any]


class Judged(NamedTuple):
    """Labelled shapes that simple classifiers learn from, and those that are judged."""

    train: CloudDataset
    test: CloudDataset


def open_judged(folder: Path, mode: str, seed: int) -> Judged:
    """Open the scored shapes of a cut collection."""
    test = "held" if mode == "choice" else "test"
    return Judged(*(open_dataset(folder, split, POINTS, seed, subset="core") for split in ("train", test)))


def embeddings(method: Method, run: Path | None, seed: int, train: CloudDataset) -> dict[str, Embed]:
    """Return what turns points (B, N, 3) into features, by the name of the features.

    "encoder" is what every command takes; "projected", of what learnt from names, its place among texts.
    """
    if method.kind == "plain":
        return {"encoder": lambda points: plain_features(points, seed=seed)}
    if method.kind != "encoder":
        model: Any = random_twin(Aligned(**ENCODER), seed)  # type: ignore[arg-type]
        if method.kind == "data_dependent":
            model = fitted_twin(model, seed, train, 64)
        return {"encoder": embedding_of(model)}
    assert run is not None
    predictor = load(run)
    with_patches(predictor.model, method.patches)
    found = {"encoder": embedding_of(predictor.model)}
    if isinstance(predictor, AlignedPredictor):
        found["projected"] = predictor.embed_shape
    return found


def with_patches(model: Any, patches: int) -> Any:
    """Return the model, set to cut clouds into so many patches; 0 = as many as in training."""
    if patches:
        model.patches = model.config["patches"] = patches
    return model


def judge(function: Embed, shapes: Judged, seed: int, fewshot: bool = True) -> Numbers:
    """Return linear probe, k-NN, few-shot and retrieval of features, JSON-able."""
    train, test = embed(function, shapes.train), embed(function, shapes.test)
    linear, near = linear_probe(*train, *test, seed=seed), knn_probe(*train, *test, seed=seed)
    numbers: Numbers = {
        "linear": linear.accuracy,
        "linear_macc": linear.macc,
        "linear_cv": linear.cv_accuracy,
        "c": linear.c,
        "knn": near.accuracy,
        "k": near.k,
        "map": mean_average_precision(test, shapes.test.classes),
        "right": {
            "linear": bits_of(linear.predictions == test.y),
            "knn": bits_of(near.predictions == test.y),
        },
    }
    return numbers | (few_shot(train, test, seed) if fewshot else {})


def mean_average_precision(test: Features, classes: list[str]) -> float:
    """Return how good search among the judged shapes is, each asked for the others of its class, in percent."""
    vectors = measure_scaling(test.x)(test.x)
    return retrieval_quality(vectors, [classes[label] for label in test.y]).mean_ap


def few_shot(train: Features, test: Features, seed: int) -> Numbers:
    """Return the mean accuracy of linear probes on 5-way 10-shot tasks, as `act3d fewshot` draws them."""
    found, queries = probe_tasks(train, test, WAY, SHOT, TASKS, seed)
    return {"fewshot": float(np.mean(found)), "fewshot_tasks": found, "fewshot_queries": queries}


@torch.no_grad()
def zero_shot(
    run: Path,
    shapes: CloudDataset,
    words: dict[str, str],
    known: NDArray[np.int64],
    rows: NDArray[np.bool_] | None = None,
    patches: int = 0,
) -> Numbers:
    """Return how often the nearest class word is the right one.

    Args:
        run: a run of alignment.
        shapes: those that are judged.
        words: class -> word.
        known: the labels that are chosen from.
        rows: judge these only.
        patches: see `with_patches`.

    Raises:
        CheckpointError: the run learnt no names.
    """
    predictor = load(run, expect=AlignedPredictor)
    with_patches(predictor.model, patches)
    texts = predictor.embed_text([words[shapes.classes[label]] for label in known])
    found = embed(predictor.embed_shape, shapes)
    right = known[(torch.from_numpy(found.x) @ texts.T).argmax(dim=1).numpy()] == found.y
    right = right if rows is None else right[rows]
    return {"zero_shot": 100 * float(right.mean()), "shapes": len(right), "right": {"zero_shot": bits_of(right)}}


def bits_of(right: NDArray[np.bool_]) -> str:
    """Return which judged shapes were right, as hexadecimal bits in the order of the shapes."""
    return f"{len(right)}:{np.packbits(right).tobytes().hex()}"


def right_of(text: str) -> NDArray[np.bool_]:
    """Return what `bits_of` wrote."""
    length, bits = text.split(":")
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), dtype=np.uint8))[: int(length)].astype(bool)

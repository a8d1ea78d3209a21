"""Whole models as torch.compile sees them on a GPU, where kernels take part. Run by `test_compiled.py` with Triton's
interpreter, in a process of its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.masking import random_mask
from act3d.models.student import Student

SMALL: dict[str, Any] = {"patch_size": 8, "width": 24}
TINY: dict[str, Any] = {"depth": 1, "heads": 2}
POINTS = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))


def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(patches=8, codes=32, teacher={"width": 24, "depth": 2, "heads": 2}, **SMALL)


def stage1() -> Callable[[Tensor], Any]:
    model = autoencoder()

    def work(points: Tensor) -> Any:
        patches = model.patchify(points)
        return model.loss(patches, model(patches, torch.ones(()), noise=False))

    return work


def features() -> Callable[[Tensor], Any]:
    model = autoencoder().eval().requires_grad_(False)
    return lambda points: model.features(model.patchify(points))


def stage2() -> Callable[[Tensor], Any]:
    model = Student(patches=8, drop_path=0, decoder_depth=1, decoder_heads=2, **SMALL, **TINY)
    mask = random_mask(2, 8, 5, POINTS.device)
    return lambda points: model(model.patchify(points), mask, 5).predicted


def classify() -> Callable[[Tensor], Any]:
    model = Classifier(5, 8, **SMALL, **TINY).eval()
    return lambda points: model(model.patchify(points))


@pytest.mark.parametrize("make", [stage1, features, stage2, classify])
def test_a_model_is_one_graph_and_gives_the_same(make: Callable[[], Callable[[Tensor], Any]]) -> None:
    torch._dynamo.reset()
    work = make()
    torch.manual_seed(1)
    expected = work(POINTS)
    torch.manual_seed(1)
    found = torch.compile(work, backend="aot_eager", fullgraph=True)(POINTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_another_temperature_is_not_compiled_anew() -> None:
    torch._dynamo.reset()
    model = autoencoder()
    patches = model.patchify(POINTS)
    graphs: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model.forward, backend=count)
    for temperature in (1.0, 0.5, 0.1):
        compiled(patches, torch.full((), temperature))
    assert len(graphs) == 1

"""The encoder that lives with texts: what it gives, by hand, and its checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from act3d import checkpoints
from act3d.models import build
from act3d.models.aligned import Aligned
from tests.helpers import randomize


def small(**given: object) -> Aligned:
    return Aligned(8, 16, 32, 2, 2, **({"hidden": 24, "text_width": 12} | given)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("class_token", [True, False])
def test_vectors_are_projected_features(class_token: bool) -> None:
    model = randomize(small(class_token=class_token)).float()
    patches = model.patchify(torch.rand(3, 64, 3))
    encoded = model.encoder(patches)
    first = encoded.cls[:, 0] if class_token else encoded.patches.mean(dim=1)
    features = torch.cat([first, encoded.patches.max(dim=1).values], dim=1)
    assert torch.allclose(model.embed(patches), features, atol=1e-6)
    one, _, two = model.alignment.projection
    by_hand = F.gelu(features @ one.weight.T + one.bias) @ two.weight.T + two.bias
    by_hand = by_hand / by_hand.norm(dim=1, keepdim=True)
    assert torch.allclose(model(patches), by_hand, atol=1e-5)


def test_texts_are_placed_around_their_mean() -> None:
    model = small()
    texts = torch.randn(5, 12) + 3
    model.alignment.text_mean.copy_(texts.mean(dim=0))
    placed = model.alignment.place_texts(texts)
    assert torch.allclose(placed.norm(dim=1), torch.ones(5))
    centred = texts - texts.mean(dim=0)
    assert torch.allclose(placed * centred.norm(dim=1, keepdim=True), centred, atol=1e-5)
    shapes = F.normalize(torch.randn(2, 12), dim=1)
    assert torch.allclose(model.alignment.scores(shapes, placed), shapes @ placed.T / 0.07, rtol=1e-4)


def test_shapes_move_half_of_the_way_to_the_texts_they_resemble() -> None:
    model = randomize(small()).float().eval()
    texts = F.normalize(torch.randn(7, 12), dim=1)
    patches = model.patchify(torch.rand(3, 64, 3))
    alone = model(patches)
    model.remember_texts(texts)
    assert model.config["memory"] == 7
    cosines = alone @ texts.T
    weights = (2 * model.alignment.contrast.scale * cosines).softmax(dim=1)
    told = sum(weights[:, [k]] * texts[k] for k in range(7))
    by_hand = alone + told / told.norm(dim=1, keepdim=True)
    assert torch.allclose(model(patches), by_hand / by_hand.norm(dim=1, keepdim=True), atol=1e-5)
    assert torch.equal(model.alignment(model.embed(patches)), alone)  # what training compares
    assert model.alignment.scale.item() == pytest.approx(0.6 * model.alignment.contrast.scale.item())
    model.remember_texts(alone[:1])
    assert torch.allclose(model(patches)[0], alone[0], atol=1e-6)  # it is there already


@torch.no_grad()
def test_shapes_move_a_third_of_the_way_to_what_remembered_shapes_like_them_are_called() -> None:
    model = randomize(small()).float().eval()
    texts = F.normalize(torch.randn(3, 12), dim=1)
    patches = model.patchify(torch.rand(5, 64, 3))
    alone, features = model(patches), model.embed(patches)
    model.remember_texts(texts)
    called = torch.tensor([2, 0, 1, 2, 0])
    model.remember_examples(features, called)
    assert model.config["examples"] == 5
    centred = (features - features.mean(0)).double().numpy()
    _, deviations, axes = np.linalg.svd(centred, full_matrices=False)
    parts = centred @ axes[:4].T / deviations[:4] ** 0.5  # the fifth of five clouds is nothing but rounding
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    likeness = np.exp(40 * (parts @ parts.T - 1))
    told = (likeness / likeness.sum(1, keepdims=True)) @ texts[called].double().numpy()
    by_hand = alone.double().numpy() * 2 / 3 + told / np.linalg.norm(told, axis=1, keepdims=True) / 3
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(model(patches).numpy(), by_hand, atol=2e-5)
    assert torch.equal(model.alignment(features), alone)  # what training compares
    assert model.alignment.scale.item() == pytest.approx(0.7 * model.alignment.contrast.scale.item())


def test_features_that_never_differ_are_not_compared() -> None:
    head = small().alignment
    features = torch.randn(9, head.projection[0].in_features)
    features[:, 3:] = 1.0
    head.memory = F.normalize(torch.randn(2, 12), dim=1)
    head.remember(features, torch.zeros(9, dtype=torch.int64))
    assert head.components is not None
    assert (head.components.abs().sum(0) > 0).sum() == 3
    assert head.place(features).isfinite().all()


@pytest.mark.parametrize(("memory", "examples"), [(0, 0), (5, 0), (5, 40), (2, 200)])
def test_a_checkpoint_gives_both_sides_again(memory: int, examples: int, tmp_path: Path) -> None:
    model = randomize(small(class_token=False)).float().eval()
    if memory:
        model.remember_texts(F.normalize(torch.randn(memory, 12), dim=1))
    if examples:
        features = torch.randn(examples, model.alignment.projection[0].in_features)
        model.remember_examples(features, torch.arange(examples) % memory)
    found = checkpoints.load(checkpoints.save(model, tmp_path / "a.safetensors", {"supervision": "names"}))
    assert type(found.model) is Aligned
    assert found.meta["supervision"] == "names"
    patches = model.patchify(torch.rand(2, 64, 3))
    assert torch.allclose(found.model(patches), model(patches), atol=1e-6)
    assert torch.equal(found.model.alignment.place_texts(torch.eye(12)), model.alignment.place_texts(torch.eye(12)))
    assert torch.equal(found.model.alignment.contrast.scale, model.alignment.contrast.scale)
    again = build("aligned", model.config)
    again.load_state_dict(model.state_dict())


def test_everything_learns() -> None:
    model = small(drop_path=0.0).train()
    texts = F.normalize(torch.randn(4, 12), dim=1)
    model.alignment.contrast(model(model.patchify(torch.rand(4, 64, 3))), texts).backward()
    still = [name for name, value in model.named_parameters() if value.grad is None]
    assert still == []

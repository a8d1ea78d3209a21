"""Every case through `act3d.load` and the public methods, with arrays, tensors and lists; and as a native file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import act3d
from tests.parity.cases import assert_parity, numbers

Loader = Callable[[str], Any]
AUTOENCODERS = ["dvae_act_shallow", "dvae_act_vit_base", "dvae_pointbert"]
CASES = [*AUTOENCODERS, "student_act", "classifier_full", "classifier_linear", "part_segmenter", "scene_segmenter"]


def check(name: str, model: Any, points: Any, given: dict[str, torch.Tensor]) -> None:
    """The public methods of a model give the numbers of its case."""
    with torch.no_grad():
        if name in AUTOENCODERS:
            assert (model.tokenize(points) == given["tokens"]).sum() >= 126
            made = model.reconstruct(points)
            for what, found in zip(("reconstruction", "coarse", "fine", "centers"), made, strict=True):
                assert_parity(found, given[what], what)
            features = model.teacher_features(points)
            if "teacher_features" in given:
                assert_parity(features, given["teacher_features"], "teacher_features")
        elif name == "student_act":
            assert_parity(model.patch_features(points), given["unmasked_features"], "unmasked_features")
            assert_parity(model.predict(points, given["mask"].numpy()), given["predicted_features"], "predicted")
            assert model.loss(points, given["mask"]).item() == pytest.approx(given["loss"].item(), rel=1e-3)
            assert model.embed(points).shape == (2, 768)
        elif name.startswith("classifier"):
            assert_parity(model(points), given["logits"], "logits")
            best = given["logits"].softmax(1).max(1)
            for (found, p), index, wanted in zip(model.predict(points), best.indices, best.values, strict=True):
                assert found == index
                assert p == pytest.approx(wanted.item(), abs=1e-4)
        else:
            category = [given["category"].numpy()] if "category" in given else []
            logs = model(points, *category).log_softmax(2)
            assert_parity(logs[:, :: logs.shape[1] // given["log_probs"].shape[1]], given["log_probs"], "log_probs")


@pytest.mark.parametrize("name", CASES)
def test_arrays_and_lists(name: str, loaded: Loader) -> None:
    given = numbers(name)
    points = given["points"].numpy()
    check(name, loaded(name), points if name in CASES[::2] else [points[0], given["points"][1]], given)


@pytest.mark.parametrize("name", ["dvae_pointbert", "classifier_linear", "part_segmenter"])
def test_as_a_native_file(name: str, loaded: Loader, tmp_path: Path) -> None:
    model = loaded(name)
    path = act3d.save(model, tmp_path / "elsewhere" / "m.safetensors", model.meta)
    check(name, act3d.load(path, device="cpu"), numbers(name)["points"], numbers(name))

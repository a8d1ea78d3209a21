"""ReCon's released student, both streams: a pretraining step, its losses, and the features of a whole cloud."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import act3d
from act3d import checkpoints
from act3d.models.recon import ReCon
from tests.parity.cases import assert_parity, numbers

NAME = "recon_student"


@pytest.fixture(scope="module")
def found(released_file: Callable[[str], Path]) -> checkpoints.Checkpoint[ReCon]:
    return checkpoints.load(released_file(NAME), expect=ReCon)


@torch.no_grad()
def test_a_pretraining_step(found: checkpoints.Checkpoint[ReCon]) -> None:
    model, expected = found.model, numbers(NAME)
    patches, mask = model.patchify(expected["points"]), expected["mask"]
    assert torch.equal(patches.centers, expected["centers"])
    output = model(patches, mask, int(mask[0].sum()))
    assert_parity(output.visible, expected["visible_features"], "visible_features")
    for place, name in enumerate(("cls", "img_token", "text_token")):
        assert_parity(output.tokens[:, place], expected[name], name)
    assert_parity(output.image, expected["img_projected"], "img_projected")
    assert_parity(output.text, expected["text_projected"], "text_projected")
    assert_parity(output.predicted.flatten(0, 1), expected["rebuilt"], "rebuilt")
    own_class = torch.eye(2, dtype=torch.bool)
    losses = model.losses(patches, output, expected["img_feature"], expected["text_feature"], own_class)
    for name, loss in losses._asdict().items():
        assert_parity(loss, expected[name], name)
    assert losses.total().item() == pytest.approx(sum(float(expected[name]) for name in losses._fields), rel=1e-3)


@torch.no_grad()
def test_a_whole_cloud(found: checkpoints.Checkpoint[ReCon]) -> None:
    expected = numbers(NAME)
    encoded = found.model.encoder(found.model.patchify(expected["points"]))
    for place, name in enumerate(("cls", "img_token", "text_token")):
        assert_parity(encoded.cls[:, place], expected[f"unmasked_{name}"], f"unmasked_{name}")
    assert_parity(encoded.patches, expected["unmasked_features"], "unmasked_features")


def test_everything_in_the_file_is_used_and_nothing_is_missing(found: checkpoints.Checkpoint[ReCon]) -> None:
    assert found.left_over == []
    assert found.missing == []
    assert found.model.config["image_width"] == 768
    assert found.model.config["text_width"] == 512
    assert found.model.config["contrast"]
    assert not found.model.training


def test_by_the_public_door(released_file: Callable[[str], Path]) -> None:
    expected = numbers(NAME)
    model = act3d.load(released_file(NAME))
    points = expected["points"].numpy()
    assert_parity(model.patch_features(points), expected["unmasked_features"], "unmasked_features")
    tokens = torch.stack([expected[f"unmasked_{name}"] for name in ("cls", "img_token", "text_token")])
    assert_parity(model.embed(points)[:, :384], tokens.amax(dim=0), "maximum over tokens")


def test_as_a_native_file(found: checkpoints.Checkpoint[ReCon], tmp_path: Path) -> None:
    path = checkpoints.save(found.model, tmp_path / "recon.safetensors", found.meta)
    again = checkpoints.load(path, expect=ReCon).model
    assert again.config == found.model.config
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), found.model.parameters(), strict=True))

"""Frames, normalization, augmentation."""

import math

import numpy as np
import pytest
import torch

from act3d.data.transforms import (
    AUGMENTATIONS,
    augmentation,
    normalize_unit_sphere,
    prepare_cloud,
    rotate,
    rotation_to_y_up,
    scale_shift,
)
from act3d.errors import ConfigError, InputError

CLOUD = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 50, 3))).float()


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_up_becomes_y_without_mirroring(up: str) -> None:
    rotation = rotation_to_y_up(up)
    assert (np.eye(3)["xyz".index(up)] @ rotation.T).tolist() == [0, 1, 0]
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.allclose(rotation @ rotation.T, np.eye(3))


def test_unit_sphere() -> None:
    points = normalize_unit_sphere(CLOUD * 7 + 100)
    assert torch.allclose(points.mean(1), torch.zeros(4, 3), atol=1e-5)
    assert torch.allclose(points.norm(dim=2).amax(1), torch.ones(4))
    assert torch.equal(normalize_unit_sphere(torch.ones(1, 5, 3)), torch.zeros(1, 5, 3))


def test_scale_and_shift_stay_in_their_bounds() -> None:
    torch.manual_seed(0)
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1]]).expand(2000, 2, 3)
    moved = scale_shift(corners)
    shift, scale = moved[:, 0], moved[:, 1] - moved[:, 0]
    assert shift.abs().max() <= 0.2
    assert shift.max() > 0.19
    assert scale.min() >= 2 / 3 - 1e-6
    assert scale.max() <= 1.5 + 1e-6
    assert scale.mean() == pytest.approx(13 / 12, abs=0.02)
    # Each axis on its own.
    assert (scale[:, 0] != scale[:, 1]).all()


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_rotation_keeps_the_axis_and_all_distances(up: str) -> None:
    torch.manual_seed(0)
    turned = rotate(CLOUD, up)
    axis = "xyz".index(up)
    assert torch.equal(turned[..., axis], CLOUD[..., axis])
    assert torch.allclose(
        torch.cdist(turned.double(), turned.double()), torch.cdist(CLOUD.double(), CLOUD.double()), atol=1e-5
    )
    # Right-handed: the determinant of the map is 1.
    basis = rotate(torch.eye(3)[None], up)[0]
    assert torch.linalg.det(basis) == pytest.approx(1)
    others = [i for i in range(3) if i != axis]
    angles = torch.atan2(*(rotate(torch.eye(3).expand(500, 3, 3), up)[:, others[0], i] for i in others))
    assert angles.min() < -math.pi * 0.95
    assert angles.max() > math.pi * 0.95


def test_augmentations_by_name() -> None:
    assert set(AUGMENTATIONS) == {"none", "scale_shift", "rotate_x", "rotate_y", "rotate_z"}
    assert torch.equal(augmentation("none")(CLOUD), CLOUD)
    torch.manual_seed(3)
    expected = scale_shift(rotate(CLOUD, "y"))
    torch.manual_seed(3)
    assert torch.equal(augmentation("rotate_y+scale_shift")(CLOUD), expected)
    with pytest.raises(ConfigError, match=r"'spin'.*rotate_y"):
        augmentation("rotate_y+spin")


def test_a_raw_cloud_is_brought_into_the_frame_of_training() -> None:
    raw = CLOUD[0].double().numpy() * 25 + 3
    meta = {"source_up": "z", "scale": 2.0, "normalization": "unit_sphere"}
    expected = normalize_unit_sphere(torch.from_numpy(raw[:, [0, 2, 1]] * [1, 1, -1])[None])[0]
    assert torch.allclose(prepare_cloud(raw, meta).double(), expected, atol=1e-6)
    assert torch.allclose(
        prepare_cloud(raw, meta | {"normalization": "none"}, up="y").double(), torch.from_numpy(raw * 2)
    )
    few = prepare_cloud(np.concatenate([raw, raw], axis=1), meta, count=20)
    assert few.shape == (20, 3)
    undeclared = dict.fromkeys(
        ["source_up", "scale", "normalization", "offset"]
    )  # as a dataset without them leaves them
    assert torch.equal(prepare_cloud(raw, undeclared), prepare_cloud(raw, {}))
    assert few.norm(dim=1).max() == pytest.approx(1)
    assert torch.equal(few, prepare_cloud(raw, meta, count=20, seed=0))


@pytest.mark.parametrize(
    ("points", "count", "reason"),
    [
        (np.zeros((5, 2)), None, "shape"),
        (np.zeros((0, 5, 3)), None, "shape"),
        (np.full((5, 3), np.nan), None, "not finite"),
        (np.zeros((5, 3)), 6, "5 points, 6 are needed"),
    ],
)
def test_bad_raw_clouds(points: np.ndarray, count: int | None, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepare_cloud(points, {}, count=count)
    with pytest.raises(InputError, match="'w'"):
        prepare_cloud(np.eye(3), {}, up="w")

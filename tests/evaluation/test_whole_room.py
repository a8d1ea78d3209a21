"""Whole rooms by blocks and votes, against a loop over points; PLY files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from act3d.data.rooms import Grid
from act3d.errors import InputError
from act3d.evaluation.whole_room import add_votes, room_blocks, segment_room
from act3d.readers.ply import read_ply
from act3d.report import class_colors
from act3d.use.labelled_clouds import write_ply


class ByHeight(nn.Module):
    """Labels a point by its height: 0 to 3; and refuses blocks that are not centred."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, points: Tensor) -> Tensor:
        assert points[:, :, :2].abs().max() <= 0.51
        return nn.functional.one_hot(points[:, :, 2].long().clamp(0, 3), 4).float()


def room(number: int = 3000, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((number, 3)) * [3.3, 2.1, 4.0] + [5, -2, 0]).astype(np.float32)


def test_every_point_gets_its_own_label() -> None:
    points = room()
    found = segment_room(ByHeight(), points, 4, count=64, batch_size=7, votes=2)
    assert np.array_equal(found, points[:, 2].astype(int))


@pytest.mark.parametrize("size", [(0.3, 0.2), (1.0, 1.0), (5.04, 0.97)])
def test_every_point_of_any_room_is_in_some_block(size: tuple[float, float]) -> None:
    points = np.random.default_rng(1).random((500, 3)).astype(np.float32) * [*size, 1]
    seen = np.zeros(len(points), dtype=int)
    for clouds in room_blocks(points, 16, 3, rng=np.random.default_rng(0)):
        assert clouds.points.shape[1:] == (16, 3)
        assert len(clouds.points) <= 3
        np.add.at(seen, clouds.places, 1)
        middle = points[clouds.places] - clouds.points  # the same shift for all points of a cloud
        assert np.ptp(middle[:, :, :2], axis=1).max() < 1e-6
        assert np.abs(middle[:, :, 2]).max() == 0
    assert seen.min() > 0


def test_votes_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(2)
    total = torch.zeros(30 * 5, dtype=torch.int32)
    expected = np.zeros((30, 5), dtype=int)
    for _ in range(4):
        logits, places = torch.randn(3, 12, 5), torch.from_numpy(rng.integers(0, 30, (3, 12)))
        add_votes(total, logits, places)
        for cloud in range(3):
            for point in range(12):
                expected[places[cloud, point], int(logits[cloud, point].argmax())] += 1
    assert np.array_equal(total.view(30, 5).numpy(), expected)


def test_the_majority_wins() -> None:
    class Moody(nn.Module):
        """Says 1 in two of three calls, else 0."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.calls = nn.Parameter(torch.zeros(1)), 0

        def forward(self, points: Tensor) -> Tensor:
            self.calls += 1
            return torch.eye(2)[int(self.calls % 3 > 0)].expand(*points.shape[:2], 2)

    points = np.zeros((10, 3), dtype=np.float32)  # one block, one cloud a vote
    assert segment_room(Moody(), points, 2, count=16, votes=3).tolist() == [1] * 10
    assert segment_room(Moody(), points, 2, count=16, votes=1).tolist() == [1] * 10


def test_bad_rooms_and_strides_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        segment_room(ByHeight(), np.full((3, 3), np.nan), 4)
    with pytest.raises(InputError, match="stride"):
        segment_room(ByHeight(), room(), 4, block=1.0, stride=1.5)


def test_grid_finds_what_a_comparison_finds() -> None:
    points = room(2000)
    grid = Grid(points, 0.25)
    rng = np.random.default_rng(3)
    for _ in range(50):
        low = rng.random(2) * [5, 4] + [4, -3]
        high = low + rng.random(2) * 2
        inside = ((points[:, :2] >= low) & (points[:, :2] <= high)).all(axis=1)
        assert np.array_equal(np.sort(grid.inside(low, high)), np.flatnonzero(inside))


def test_ply_is_read_back(tmp_path: Path) -> None:
    points = room(50)
    labels = np.arange(50) % 4 - 1
    path = write_ply(tmp_path / "a.ply", points, labels, ["floor", "wall", "chair"])
    assert np.allclose(read_ply(path).vertices, points)
    head, _, body = path.read_bytes().partition(b"end_header\n")
    rows = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "<i2")])
    assert np.array_equal(rows["label"], labels)
    assert np.array_equal(rows["rgb"][1], class_colors(["floor", "wall", "chair"])[0])
    assert rows["rgb"][0].tolist() == [128, 128, 128]
    assert b"comment label 2 = chair" in head
    with pytest.raises(InputError):
        write_ply(tmp_path / "b.ply", points, labels + 5, ["floor"])


def test_colors_differ() -> None:
    for number in (3, 13, 50):
        colors = class_colors([f"c{i}" for i in range(number)])
        assert len(np.unique(colors, axis=0)) == number


def test_names_of_classes_cannot_forge_a_header(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((5, 3))
    names = ["a\nend_header\nelement vertex 1", "gr\u00fcn\r", "\x1b[31m"]
    path = write_ply(tmp_path / "a.ply", points, np.array([0, 1, 2, -1, 0]), names)
    assert np.allclose(read_ply(path).vertices, points)
    header = path.read_bytes().partition(b"\nend_header\n")[0]
    assert header.isascii()
    assert header.count(b"element vertex 5") == 1
    assert b"comment label 1 = gr\\xfcn\\r, colour" in header

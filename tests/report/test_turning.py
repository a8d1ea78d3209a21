"""Animated figures: the clouds turn once around, again and again."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from act3d.errors import InputError
from act3d.report import figure as figures
from act3d.report.figure import Figure, Panel, write_figure
from act3d.report.pieces import EmbeddingMap


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_clouds_turn_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(figures, "FRAMES", 4)
    cloud = np.random.default_rng(0).normal(size=(60, 3)) * [3, 1, 1]
    path = write_figure(tmp_path / f"turning{suffix}", Figure("Turning", [[Panel(cloud, "a")]]), width=1.5)
    with Image.open(path) as picture:
        assert picture.n_frames == 4
        assert picture.info["loop"] == 0
        frames = []
        for number in range(4):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("L"), dtype=float))
            assert picture.info["duration"] == 100
    # Half a turn shows a parallel projection of other points in front; a quarter shows another outline as well.
    outlines = [frame < 200 for frame in frames]
    assert (outlines[0] != outlines[1]).mean() > 0.05
    assert all(np.abs(frames[i] - frames[j]).max() > 50 for i in range(4) for j in range(i))


def test_a_map_does_not_turn(tmp_path: Path) -> None:
    points = EmbeddingMap(np.zeros((1, 2)), np.zeros(1, int), ["a"], np.ones(1, bool), [np.zeros((1, 3))])
    with pytest.raises(InputError, match="a map does not turn"):
        write_figure(tmp_path / "map.webp", Figure("Map", map=points, classes=["x"]))
    assert not list(tmp_path.iterdir())

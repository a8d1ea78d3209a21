"""Every preset of `segment` runs: two optimizer steps, and a look at the test set."""

import json
from pathlib import Path

import pytest

from act3d.cli import main
from act3d.presets import preset_names
from tests.commands.test_segment import write_parts, write_rooms

# What a preset's full size needs minutes for, cut: encoders of three blocks have the three that features come from.
CUT = ["--segmenter.depth", "3", "--segmenter.votes", "0", "--data.batch_size", "2"]


@pytest.mark.parametrize("preset", preset_names("parts") + preset_names("scenes"))
def test_segment_presets_run(preset: str, tmp_path: Path) -> None:
    task = preset.split("/")[1]  # parts or scenes
    if task == "parts":
        root, more = write_parts(tmp_path / "data", per_class=4, points=2048), ["--data.split", "train"]
    else:
        root, more = write_rooms(tmp_path / "data"), ["--scenes.min_points", "256", "--scenes.votes", "1"]
    words = ["segment", "--config", preset, "--data.root", str(root), "--out", str(tmp_path / "run"), *CUT, *more]
    assert main([*words, "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"]) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert 0 <= found["metrics"]["instance_miou" if task == "parts" else "miou"] <= 100

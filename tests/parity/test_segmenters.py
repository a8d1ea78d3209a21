"""Released segmenters, loaded from a file, give the published architecture's numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from act3d import checkpoints
from act3d.errors import CheckpointError
from act3d.use.segmenter_predictor import SegmenterPredictor
from tests.parity.cases import assert_parity, numbers, released


@pytest.mark.parametrize("name", ["part_segmenter", "scene_segmenter"])
def test_log_probabilities(name: str, loaded: Callable[[str], SegmenterPredictor]) -> None:
    model, given = loaded(name), numbers(name)
    with torch.no_grad():
        found = model(given["points"], given.get("category")).log_softmax(dim=2)
    wanted = given["log_probs"]
    found = found[:, :: found.shape[1] // wanted.shape[1]]  # the part case holds every fourth point
    assert model.left_over == []
    assert_parity(found, wanted, name, 1e-5)


@pytest.mark.parametrize("name", ["propagation_0_cls.mlp_convs.1.weight", "blocks.blocks.3.attn.qkv.weight"])
def test_file_that_lacks_a_layer_is_refused(name: str, tmp_path: Path) -> None:
    content = released("scene_segmenter")
    del content["model_state_dict"][name]
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError):
        checkpoints.load(tmp_path / "cut.pth")

"""The released student, with its decoder and the teacher it carries, gives the published numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from act3d import load
from act3d.errors import CheckpointError
from act3d.models.student import Student
from act3d.use.shape_predictors import StudentPredictor
from tests.parity import cases
from tests.parity.cases import assert_parity, numbers

NAME = "student_act"
Loader = Callable[[str], StudentPredictor]


@torch.no_grad()
def test_masked_and_unmasked_features_prediction_and_loss(loaded: Loader) -> None:
    student, expected = loaded(NAME), numbers(NAME)
    points, mask = expected["points"], expected["mask"]
    output = student(student.patchify(points), mask, int(mask[0].sum()))
    assert_parity(output.visible, expected["visible_features"], "visible_features")
    assert_parity(output.predicted, expected["predicted_features"], "predicted_features")
    assert_parity(student.predict(points, mask), expected["predicted_features"], "predicted_features")
    assert_parity(student.patch_features(points), expected["unmasked_features"], "unmasked_features")
    assert_parity(student.loss(points, mask), expected["loss"], "loss")


def test_the_model_is_the_one_of_the_case(loaded: Loader) -> None:
    predictor = loaded(NAME)
    student = predictor.model
    assert isinstance(student, Student)
    assert not student.training
    assert len(student.encoder.blocks) == 12
    assert len(student.decoder.blocks) == 2
    assert student.teacher is not None
    assert not any(p.requires_grad for p in student.teacher.parameters())
    # Heads that pretraining never used, and nothing else.
    assert predictor.left_over
    assert all(name.startswith(("ACT_encoder.lm_head.", "ACT_encoder.cls_head.")) for name in predictor.left_over)


@pytest.mark.parametrize(
    "lost", ["ACT_encoder.blocks.blocks.7.attn.qkv.weight", "ACT_encoder.norm.bias", "mask_token", "proj_head.weight"]
)
def test_a_file_that_covers_less_is_refused(lost: str, tmp_path: Path) -> None:
    # A small file of the same layout: two blocks, no teacher.
    kept = {k: v for k, v in _small_state().items() if k != lost.replace("blocks.blocks.7", "blocks.blocks.1")}
    torch.save({"base_model": {f"module.{k}": v for k, v in kept.items()}, "epoch": 300}, tmp_path / "s.pth")
    with pytest.raises(CheckpointError, match=r"s\.pth") as caught:
        load(tmp_path / "s.pth")
    assert "\n" not in str(caught.value)


def test_the_small_file_itself_is_read(tmp_path: Path) -> None:
    torch.save({"base_model": {f"module.{k}": v for k, v in _small_state().items()}}, tmp_path / "s.pth")
    student = load(tmp_path / "s.pth")
    assert student.model.teacher is None
    assert student.embed(torch.randn(1, 100, 3)).shape == (1, 128)


def test_a_file_of_the_encoder_alone_is_read_and_says_what_it_lacks(tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in _small_state().items() if k.startswith("ACT_encoder.")}
    torch.save({"base_model": state}, tmp_path / "s.pth")
    student = load(tmp_path / "s.pth")
    assert torch.equal(student.model.encoder.norm.weight, state["module.ACT_encoder.norm.weight"])
    assert student.missing
    assert all(name.startswith(("decoder", "mask_token", "head.")) for name in student.missing)


def _small_state() -> dict[str, torch.Tensor]:
    from benchmarks.textbook.student import PointDistillation

    plain = PointDistillation(torch.nn.Identity(), width=64, depth=2, heads=1, decoder_depth=1, decoder_heads=1)
    return plain.state_dict()


def test_a_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("this must not run",))

    torch.save({"base_model": {"module.codebook": Code()}}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        load(tmp_path / "bad.pth")


@pytest.mark.parametrize("content", [{}, {"base_model": {}}, {"base_model": {"module.x": torch.zeros(1)}}, [1, 2]])
def test_a_file_of_another_kind_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        load(tmp_path / "other.pth")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    torch.save({"base_model": {f"module.{k}": v for k, v in _small_state().items()}}, tmp_path / "cut.pth")
    content = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.pth"):
        load(tmp_path / "cut.pth")


def test_the_real_layout_of_a_file(released_file: Callable[[str], Path]) -> None:
    content = torch.load(released_file(NAME), weights_only=True)
    assert set(content) == {"base_model", "epoch", "metrics", "best_metrics", "optimizer"}
    assert all(name.startswith("module.") for name in content["base_model"])
    assert len(content["base_model"]) == len(cases.state(NAME))

"""The masked student against the textbook form: every mask, every loss, cls_loss, ratio 0."""

from typing import Any

import pytest
import torch

from act3d.errors import InputError
from act3d.losses import build_loss
from act3d.models import build
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import block_mask, random_mask
from act3d.models.student import Student
from act3d.use.shape_predictors import StudentPredictor
from benchmarks.textbook.losses import LOSSES
from benchmarks.textbook.student import PointDistillation
from tests.helpers import (
    AUTOENCODER_NAMES,
    SMALL,
    STUDENT_NAMES,
    assert_agree,
    backbone_spec,
    compare,
    copy_weights,
    randomize,
    textbook_autoencoder,
)

TEACHER: dict[str, Any] = {**SMALL, "prompts": 3, "prompt_dropout": 0.0}
NOT_STUDENT = ("dvae_tokenizer.",)


def pair(loss: str = "cosine", cls_loss: bool = False, drop_path: float = 0.0) -> tuple[PointDistillation, Student]:
    plain = PointDistillation(
        textbook_autoencoder(),
        teacher_width=16,
        width=20,
        depth=4,
        heads=2,
        decoder_heads=2,
        drop_path=drop_path,
        loss=loss,
        cls_loss=cls_loss,
        shallow_block=1,
    )
    randomize(plain)
    fast = Student(
        patches=8,
        patch_size=8,
        width=20,
        depth=4,
        heads=2,
        decoder_heads=2,
        drop_path=drop_path,
        teacher_width=16,
        cls_loss=cls_loss,
        shallow_block=2,  # counted from 1
    ).double()
    copy_weights(plain, fast, STUDENT_NAMES, skip=NOT_STUDENT)
    return plain, fast


def teacher_of(plain: PointDistillation) -> Autoencoder:
    teacher = Autoencoder(**TEACHER, teacher=backbone_spec()).double().eval()
    copy_weights(plain.dvae_tokenizer, teacher, AUTOENCODER_NAMES)
    return teacher


def check(plain: PointDistillation, fast: Student, mask: torch.Tensor, hidden: int) -> None:
    points = torch.randn(len(mask), 40, 3, dtype=torch.float64)
    neighborhood, center = plain.dvae_tokenizer.group(points)
    patches = fast.patchify(points)

    def run_plain() -> list[torch.Tensor]:
        output = plain.predict(neighborhood, center, mask)
        return [output.visible, output.predicted, *([] if output.shallow is None else [output.shallow])]

    def run_fast() -> list[torch.Tensor]:
        output = fast(patches, mask, hidden)
        return [output.visible, output.predicted, *([] if output.predicted_cls is None else [output.predicted_cls])]

    compare(plain, fast, run_plain, run_fast, names=STUDENT_NAMES, skip=NOT_STUDENT)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cls_loss", [False, True])
@pytest.mark.parametrize("kind", ["random", "block"])
@pytest.mark.parametrize("hidden", [1, 6, 7])
def test_predictions_and_gradients(hidden: int, kind: str, cls_loss: bool, training: bool) -> None:
    plain, fast = pair(cls_loss=cls_loss)
    mask = random_mask(3, 8, hidden) if kind == "random" else block_mask(torch.randn(3, 8, 3), hidden)
    check(plain.train(training), fast.train(training), mask, hidden)


@pytest.mark.parametrize("training", [False, True])
def test_nothing_hidden_means_no_decoder(training: bool) -> None:
    plain, fast = pair()
    plain.mask_ratio = 0
    check(plain.train(training), fast.train(training), torch.zeros(2, 8, dtype=torch.bool), 0)


@pytest.mark.parametrize("cls_loss", [False, True])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_whole_step_with_its_teacher(loss: str, cls_loss: bool) -> None:
    plain, fast = pair(loss, cls_loss)
    plain.train()
    fast.train()
    teacher = teacher_of(plain)
    points, mask = torch.randn(2, 40, 3, dtype=torch.float64), random_mask(2, 8, 6)
    neighborhood, center = plain.dvae_tokenizer.group(points)
    patches = fast.patchify(points)

    def run_fast() -> torch.Tensor:
        output = fast(patches, mask, 6)
        with torch.no_grad():
            target = teacher.features(patches)
        return fast.loss(output, target, build_loss(loss))

    compare(plain, fast, lambda: plain(neighborhood, center, mask), run_fast, names=STUDENT_NAMES, skip=NOT_STUDENT)


def test_the_hidden_indices_are_those_of_the_mask() -> None:
    _, fast = pair()
    mask = random_mask(3, 8, 6)
    output = fast(fast.patchify(torch.randn(3, 40, 3).double()), mask, 6)
    assert torch.equal(output.hidden, mask.nonzero()[:, 1].view(3, 6))
    assert output.visible.shape == (3, 2, 20)
    assert output.predicted.shape == (3, 6, 16)


def test_hidden_patches_do_not_reach_the_encoder() -> None:
    """Changing what is hidden changes no feature of what is seen (in eval mode: no batch statistics)."""
    _, fast = pair()
    fast.eval()
    mask = random_mask(2, 8, 5)
    patches = fast.patchify(torch.randn(2, 40, 3, dtype=torch.float64))
    other = patches._replace(
        neighborhoods=torch.where(
            mask[:, :, None, None], torch.randn_like(patches.neighborhoods), patches.neighborhoods
        )
    )
    assert torch.equal(fast(patches, mask, 5).predicted, fast(other, mask, 5).predicted)


def test_embedding_visible_patches_only_is_the_same_in_eval_mode_and_cheaper_statistics_in_training() -> None:
    plain, fast = pair()
    cheap = Student(**{**fast.config, "embed_visible_only": True}).double()
    cheap.load_state_dict(fast.state_dict())
    mask, patches = random_mask(2, 8, 5), fast.patchify(torch.randn(2, 40, 3, dtype=torch.float64))
    assert_agree(cheap.eval()(patches, mask, 5).predicted, fast.eval()(patches, mask, 5).predicted)
    cheap.train()
    cheap(patches, mask, 5)
    encoder = plain.ACT_encoder.encoder.train()
    encoder(patches.neighborhoods[~mask].view(2, 3, 8, 3))  # the statistics are those of the visible patches
    expected = encoder.first_conv[1].running_mean
    assert_agree(cheap.encoder.patch_embedding.first_conv[1].running_mean, expected)


def test_use_after_training() -> None:
    plain, fast = pair()
    plain.eval()
    fast.eval()
    points = torch.randn(3, 40, 3, dtype=torch.float64)
    nothing = torch.zeros(3, 8, dtype=torch.bool)
    encoded = plain.ACT_encoder(*plain.dvae_tokenizer.group(points), nothing)
    used = StudentPredictor(fast)
    assert_agree(used.patch_features(points), encoded.patches)
    assert_agree(used.embed(points), torch.cat([encoded.token, encoded.patches.max(dim=1).values], dim=1))
    assert not used.embed(points).requires_grad
    mask = random_mask(3, 8, 6)
    expected = plain.predict(*plain.dvae_tokenizer.group(points), mask)
    assert_agree(used.predict(points, mask), expected.predicted)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_student_that_carries_its_teacher_computes_its_loss(loss: str) -> None:
    plain, fast = pair(loss)
    plain.eval()
    carrying = Student(**{**fast.config, "teacher": {**TEACHER, "teacher": backbone_spec()}}).double()
    carrying.load_state_dict(
        {**fast.state_dict(), **{f"teacher.{k}": v for k, v in teacher_of(plain).state_dict().items()}}
    )
    carrying.eval()
    points, mask = torch.randn(2, 40, 3, dtype=torch.float64), random_mask(2, 8, 6)
    assert_agree(StudentPredictor(carrying).loss(points, mask, loss), plain(*plain.dvae_tokenizer.group(points), mask))
    with pytest.raises(InputError, match="no teacher"):
        StudentPredictor(fast).loss(points, mask, loss)


def test_masks_that_do_not_fit_are_refused() -> None:
    _, fast = pair()
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    for mask in (random_mask(2, 9, 4), random_mask(3, 8, 4), torch.ones(2, 8, dtype=torch.bool)):
        with pytest.raises(InputError, match="mask"):
            StudentPredictor(fast).predict(points, mask)


def test_a_shallow_block_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5.*4"):
        Student(depth=4, width=20, heads=2, decoder_heads=2, cls_loss=True, shallow_block=5)


def test_a_config_builds_the_same_model_again() -> None:
    _, fast = pair(cls_loss=True)
    again = build(fast.kind, fast.config)
    assert again.config == fast.config
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in fast.state_dict().items()}


def test_default_sizes_are_the_released_ones() -> None:
    student = Student()
    plain = PointDistillation(torch.nn.Identity())
    assert sum(p.numel() for p in student.parameters()) == sum(p.numel() for p in plain.parameters())
    assert student.encoder.blocks[11].drop_path.rate == pytest.approx(0.1)
    assert student.encoder.blocks[0].drop_path.rate == 0


@pytest.mark.gpu
def test_a_forward_pass_does_not_wait_for_the_host() -> None:
    student = Student().cuda()
    patches = student.patchify(torch.randn(4, 1024, 3, device="cuda"))
    student(patches, random_mask(4, 64, 51, "cuda"), 51)  # warm: libraries may synchronise once
    torch.cuda.set_sync_debug_mode("error")
    try:
        student(patches, random_mask(4, 64, 51, "cuda"), 51).predicted.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")

"""The segmenter against its textbook form, and how it takes over an encoder."""

import pytest
import torch

from act3d.errors import InputError
from act3d.models import build
from act3d.models.segmenter import Segmenter, even_blocks
from act3d.models.student import Student
from benchmarks.textbook.heads import Segmenter as Textbook
from tests.helpers import Names, compare, copy_weights, randomize

NAMES: Names = (
    ("encoder.", "encoder.patch_embedding."),
    ("pos_embed.", "encoder.pos_embed."),
    ("blocks.blocks.", "encoder.blocks."),
    ("norm.", "encoder.norm."),
)
HEAD = (1536, 1024, 512, 256)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("categories", [0, 3])
def test_equals_the_textbook(categories: int, training: bool) -> None:
    common = {"categories": categories, "patches": 8, "patch_size": 8, "width": 16, "depth": 4, "heads": 2}
    plain = Textbook(5, **common, feature_blocks=(0, 2, 3), drop_path=0.0)
    randomize(plain)
    fast = Segmenter(5, **common, feature_blocks=[1, 3, 4], drop_path=0.0).double()
    copy_weights(plain, fast, NAMES)
    plain.train(training)
    fast.train(training)
    plain.dropout.p = fast.dropout.p = 0.0  # rows and columns would drop different numbers
    points = torch.randn(3, 40, 3, dtype=torch.float64)
    category = torch.tensor([2, 0, 2]) if categories else None
    compare(
        plain,
        fast,
        lambda: plain(points, category),
        lambda: fast(points, category).log_softmax(dim=2),
        names=NAMES,
    )


def test_feature_blocks_are_those_of_the_paper_and_even_otherwise() -> None:
    assert even_blocks(12) == [4, 8, 12]
    assert even_blocks(6) == [2, 4, 6]
    assert even_blocks(4) == [1, 3, 4]
    assert even_blocks(1) == [1]


def test_config_builds_the_same_model() -> None:
    model = Segmenter(4, 2, patches=8, patch_size=8, width=16, depth=3, heads=2, head_widths=[32, 24, 16, 8])
    again = build("segmenter", model.config)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert model.config["feature_blocks"] == [1, 2, 3]


def test_takes_over_a_students_encoder() -> None:
    student = Student(patches=8, patch_size=8, width=16, depth=3, heads=2, decoder_depth=1, decoder_heads=2)
    model = Segmenter(4, patches=8, patch_size=8, width=16, depth=3, heads=2)
    assert model.start_from(student) == []
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, student.encoder.state_dict()[name])
    student.eval()
    model.eval()
    points = torch.randn(2, 64, 3)
    last = model.level_features(model.patchify(points))[:, :, -16:]
    # The same weights, but no class token to look at: like the student's features, and not equal to them.
    theirs = student.patch_features(student.patchify(points))
    assert torch.nn.functional.cosine_similarity(last, theirs, dim=2).min() > 0.9
    assert not torch.equal(last, theirs)


@pytest.mark.parametrize("change", [{"depth": 2}, {"depth": 4}, {"width": 32}])
def test_refuses_an_encoder_that_does_not_fit(change: dict[str, int]) -> None:
    size = {"width": 16, "depth": 3, "heads": 2}
    student = Student(patches=8, patch_size=8, decoder_depth=1, decoder_heads=2, **{**size, **change})
    with pytest.raises(InputError, match="encoder to start from is"):
        Segmenter(4, patches=8, patch_size=8, **size).start_from(student)


def test_category_is_needed_for_parts_and_refused_for_scenes() -> None:
    points = torch.randn(2, 32, 3)
    small = {"patches": 8, "patch_size": 8, "width": 16, "depth": 1, "heads": 2}
    with pytest.raises(InputError, match="needs the category"):
        Segmenter(4, 3, **small)(points)
    with pytest.raises(InputError, match="takes no category"):
        Segmenter(4, **small)(points, torch.tensor([0, 1]))
    with pytest.raises(InputError, match=r"category \(1,\) does not fit points of 2 clouds"):
        Segmenter(4, 3, **small)(points, torch.tensor([0]))


def test_points_of_one_cloud_do_not_touch_another() -> None:
    model = Segmenter(4, patches=8, patch_size=8, width=16, depth=2, heads=2).eval()
    points = torch.randn(2, 64, 3)
    both, first = model(points), model(points[:1])
    assert torch.allclose(both[:1], first, atol=1e-5)

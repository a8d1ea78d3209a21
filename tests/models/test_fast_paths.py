"""What the fast paths keep, skip and fall back from; that they equal the textbook form is tested beside each layer."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from act3d.kernels import patch_maximum
from act3d.kernels.batch_norm import mean_and_covariance, variance_after_linear
from act3d.kernels.dispatch import folds_batch_norm
from act3d.kernels.exponential import exponential_like
from act3d.kernels.folding_layers import normed_linear, seeded_linear
from act3d.kernels.patch_maximum import linear_max, mlp_max
from act3d.models.autoencoder import Autoencoder
from act3d.models.patch_embedding import PatchEmbedding
from tests.helpers import SMALL, assert_agree, backbone_spec, draws_alike


@pytest.fixture
def teacher() -> Autoencoder:
    return Autoencoder(**SMALL, prompts=3, teacher=backbone_spec()).double().eval()


@torch.no_grad()
def features(teacher: Autoencoder, points: torch.Tensor) -> torch.Tensor:
    return teacher.features(teacher.patchify(points))


@pytest.mark.parametrize("which", ["prompt_token", "deep_prompt_pos", "backbone"])
def test_kept_keys_follow_the_weights_they_come_from(teacher: Autoencoder, which: str) -> None:
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    before = features(teacher, points)
    assert torch.equal(features(teacher, points), before)
    prompted = teacher.prompted
    changed = prompted.backbone.blocks[1].attn.qkv.weight if which == "backbone" else getattr(prompted, which)
    with torch.no_grad():
        changed.add_(torch.randn_like(changed))
    after = features(teacher, points)
    assert not torch.allclose(after, before)
    # gradients on: nothing is kept, everything is computed anew
    assert_agree(teacher.features(teacher.patchify(points)), after)
    teacher.load_state_dict(Autoencoder(**SMALL, prompts=3, teacher=backbone_spec()).state_dict())
    assert_agree(teacher.features(teacher.patchify(points)), features(teacher, points))


def test_kept_keys_stay_out_of_checkpoints_and_copies(teacher: Autoencoder) -> None:
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    names = set(teacher.state_dict())
    found = features(teacher, points)
    assert set(teacher.state_dict()) == names
    other = copy.deepcopy(teacher)
    assert_agree(features(other, points), found)
    other.prompted.prompt_token.data = torch.zeros_like(other.prompted.prompt_token)
    assert not torch.allclose(features(other, points), found)
    assert torch.equal(features(teacher, points), found)


def test_keys_are_not_kept_in_train_mode(teacher: Autoencoder) -> None:
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    teacher.prompted.dropout.p = 0.5
    teacher.prompted.train()
    assert not torch.allclose(features(teacher, points), features(teacher, points))


@pytest.mark.parametrize("size", [1, 7, 32, 300])
def test_linear_max_takes_the_first_of_equal_points(size: int) -> None:
    rows = torch.randint(-2, 3, (3 * size, 4)).double().requires_grad_()  # many ties
    weight, bias = torch.randint(-2, 3, (5, 4)).double().requires_grad_(), torch.randn(5).double().requires_grad_()
    inputs, given = (rows, weight, bias), torch.randn(3, 5, dtype=torch.float64)
    expected = (rows @ weight.t() + bias).view(3, size, 5).max(dim=1).values
    found = linear_max(*inputs, size)
    assert_agree(found, expected)
    wanted = torch.autograd.grad(expected, inputs, given)
    for mine, theirs in zip(torch.autograd.grad(found, inputs, given), wanted, strict=True):
        assert_agree(mine, theirs)


def test_gradients_of_mlp_max() -> None:
    shapes = ((3 * 4, 3), (6, 3), (3, 6), (5, 6), (5,))
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *x: mlp_max(*x, 4), inputs)


def test_gradients_of_the_folding_layers() -> None:
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (2, 3), (4, 3), (4,))]
    assert torch.autograd.gradcheck(seeded_linear, inputs)
    shapes = ((7, 3), (3,), (3,), (2, 3), (2,))
    x, scale, offset, weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    assert torch.autograd.gradcheck(
        lambda x, s, o, w, b: normed_linear(x, s, o, 1e-5, w, b)[0], (x, scale, offset, weight, bias)
    )


def test_more_patches_than_one_chunk() -> None:
    rows, weight = torch.randn(40 * 64, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    expected = (rows @ weight.t()).view(40, 64, 5).amax(1)
    assert_agree(linear_max(rows, weight, torch.zeros(5, dtype=torch.float64), 64), expected)


def test_winners_are_sought_only_where_a_gradient_will_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, weight, bias = torch.randn(8, 3), torch.randn(5, 3, requires_grad=True), torch.zeros(5)
    trained = linear_max(rows, weight, bias, 4)
    monkeypatch.setattr(patch_maximum, "_first_maximum", lambda *_: pytest.fail("winners were sought"))
    with torch.no_grad():
        assert torch.equal(linear_max(rows, weight, bias, 4), trained)


def test_nan_stays_nan() -> None:
    rows = torch.full((4, 2), math.nan, requires_grad=True)
    found = linear_max(rows, torch.ones(3, 2), torch.zeros(3), 4)
    found.sum().backward()
    assert found.isnan().all()


def test_mean_and_covariance() -> None:
    x = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mean_and_covariance, (x,))
    mean, covariance = mean_and_covariance(x)
    weight = torch.randn(6, 4, dtype=torch.float64)
    variance, expected = torch.var_mean(x @ weight.t(), dim=0, correction=0)
    assert_agree(variance_after_linear(weight, covariance), variance)
    assert_agree(weight @ mean, expected)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_folded_norms_in_float32_are_as_good_as_batch_norm(offset: float) -> None:
    """Far from the origin too, where variances from moments could cancel: measured against float64."""
    model = PatchEmbedding(24).train()
    patches = torch.randn(4, 8, 32, 3, dtype=torch.float64) * 0.1 + offset
    truth = copy.deepcopy(model).double()(patches)
    folded = (copy.deepcopy(model)(patches.float()) - truth).abs().max()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("act3d.models.patch_embedding.folds_batch_norm", lambda *_: False)
        plain = model(patches.float())
    assert folded <= 4 * (plain - truth).abs().max() + 1e-6


class Counting(nn.BatchNorm1d):
    """Stands for SyncBatchNorm, whose statistics come from elsewhere."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def test_foreign_norms_are_called_and_not_folded() -> None:
    model = PatchEmbedding(24).train()
    assert folds_batch_norm(torch.randn(4, 3), model.first_conv[1])
    model.second_conv[1] = Counting(512)
    model(torch.randn(1, 2, 8, 3))
    assert model.second_conv[1].calls == 1
    assert not folds_batch_norm(torch.randn(4, 3), model.first_conv[1], model.second_conv[1])
    assert not folds_batch_norm(torch.randn(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
    assert not folds_batch_norm(torch.randn(4, 3, dtype=torch.bfloat16), nn.BatchNorm1d(3))


def test_batch_statistics_of_one_point_are_refused_as_ever() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        PatchEmbedding(24).train()(torch.randn(1, 1, 1, 3))


@draws_alike
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (2, 5, 16), (17, 9)])
def test_exponential_draws_are_those_of_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Number by number, and the generator goes on from the same place."""
    torch.manual_seed(3)
    expected, after = torch.empty(shape, dtype=dtype).exponential_(), torch.rand(4)
    torch.manual_seed(3)
    assert_agree(exponential_like(expected), expected, 1e-6 if dtype == torch.float32 else 1e-14)
    assert torch.equal(torch.rand(4), after)

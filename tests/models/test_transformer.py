"""Transformer blocks against attention written out, with and without a prefix of prompts."""

import pytest
import torch

from act3d.models import transformer as fast_form
from benchmarks.textbook import transformer as textbook
from tests.helpers import assert_agree, compare, copy_weights, randomize


def pair(norm_first: bool = True, qkv_bias: bool = True) -> tuple[textbook.Block, fast_form.Block]:
    plain = textbook.Block(24, 3, qkv_bias=qkv_bias, eps=1e-6, norm_first=norm_first)
    randomize(plain)
    fast = fast_form.Block(24, 3, qkv_bias=qkv_bias, eps=1e-6, norm_first=norm_first).double()
    copy_weights(plain, fast)
    return plain, fast


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_block(norm_first: bool, qkv_bias: bool) -> None:
    plain, fast = pair(norm_first, qkv_bias)
    compare(plain, fast, plain, fast, [torch.randn(2, 7, 24, dtype=torch.float64)])


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_a_prefix_equals_tokens_whose_outputs_are_thrown_away(norm_first: bool, qkv_bias: bool, shared: bool) -> None:
    plain, fast = pair(norm_first, qkv_bias)

    def run_plain(x: torch.Tensor, prefix: torch.Tensor) -> torch.Tensor:
        return plain(torch.cat([prefix.expand(len(x), -1, -1), x], dim=1))[:, prefix.shape[1] :]

    prefix = torch.randn(1 if shared else 2, 4, 24, dtype=torch.float64)
    compare(plain, fast, run_plain, fast, [torch.randn(2, 7, 24, dtype=torch.float64), prefix])


def test_layer_scale_scales_each_branch() -> None:
    plain, _ = pair()
    fast = fast_form.Block(24, 3, eps=1e-6, layer_scale=True).double()
    fast.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        fast.ls1.normal_()
        fast.ls2.normal_()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    middle = x + fast.ls1 * plain.attn(plain.norm1(x))
    assert_agree(fast(x), middle + fast.ls2 * plain.mlp(plain.norm2(middle)))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", torch.nn.GELU()),
        ("gelu_tanh", torch.nn.GELU(approximate="tanh")),
        ("quick_gelu", lambda x: x / (1 + torch.exp(-1.702 * x))),
    ],
)
def test_activations(name: str, function: torch.nn.Module) -> None:
    mlp = fast_form.Mlp(6, 12, name).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    assert_agree(mlp(x), mlp.fc2(function(mlp.fc1(x))))


def test_hidden_width_and_heads() -> None:
    assert fast_form.Block(24, 3, hidden=50).mlp.fc1.weight.shape == (50, 24)
    with pytest.raises(ValueError, match=r"24.*5"):
        fast_form.Block(24, 5)


def test_drop_path_leaves_out_whole_clouds_and_keeps_the_mean() -> None:
    drop = fast_form.DropPath(0.25)
    x = torch.ones(4000, 3, 2)
    found = drop(x)
    kept = found[:, 0, 0] != 0
    assert torch.equal(found, torch.where(kept[:, None, None], x / 0.75, 0))  # all or nothing
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.03)
    assert torch.equal(drop.eval()(x), x)


def test_drop_path_rates_rise_evenly() -> None:
    rates = fast_form.drop_path_rates(12, 0.1)
    assert rates == pytest.approx(torch.linspace(0, 0.1, 12).tolist(), abs=1e-7)
    assert fast_form.drop_path_rates(1, 0.1) == [0.0]


def test_position_embedding_equals_the_textbook() -> None:
    plain = randomize(textbook.position_embedding(10))
    fast = fast_form.position_mlp(10).double()
    copy_weights(plain, fast)
    compare(plain, fast, plain, fast, [torch.randn(2, 5, 3, dtype=torch.float64)])

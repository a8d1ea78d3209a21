"""oneDNN's products against torch's own, forward and backward; and when they are not used."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from act3d.kernels import dispatch, onednn
from act3d.kernels import linear as products
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from tests.helpers import SMALL, assert_agree, backbone_spec

needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.backends.mkldnn.is_available(),
    reason="this torch has no oneDNN product",
)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN for products of every size, on every processor."""
    monkeypatch.setattr(dispatch, "_ONEDNN_MULTIPLICATIONS", 0)
    monkeypatch.setattr(dispatch, "_onednn_is_faster", lambda: True)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of what oneDNN was given."""
    seen: list[tuple[int, ...]] = []
    original = onednn.product

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.append(tuple(x.shape))
        return original(x, weight, bias)

    monkeypatch.setattr(onednn, "product", product)
    return seen


def _views(rows: int, columns: int, count: int) -> list[Tensor]:
    """The same kind of matrix (rows, columns), lying in memory as it is, turned, and as a part of a larger one."""
    shapes = [(rows, columns), (columns, rows), (rows + 3, columns + 5)]
    plain, turned, part = (torch.randn(shape) for shape in shapes)
    return [plain, turned.t(), part[1 : rows + 1, 2 : columns + 2]][:count]


@needs_onednn
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (1, 7), (2, 2, 2, 7)])
def test_linear_with_its_gradients(shape: tuple[int, ...], with_bias: bool, calls: list[tuple[int, ...]]) -> None:
    x = torch.randn(shape)
    for weight in _views(4, 7, 3):
        bias = torch.randn(4) if with_bias else None
        inputs = [i.detach().requires_grad_() for i in (x, weight, bias) if i is not None]
        given = torch.randn(*shape[:-1], 4)
        found, expected = products.linear(*inputs), nn.functional.linear(*inputs)
        assert_agree(found, expected, 1e-5)
        wanted = torch.autograd.grad(expected, inputs, given)
        for mine, theirs in zip(torch.autograd.grad(found, inputs, given), wanted, strict=True):
            assert_agree(mine, theirs, 1e-5)
    assert len(calls) == 9  # forward, and two gradients, of three weights


@needs_onednn
@pytest.mark.usefixtures("always")
def test_matmul_of_all_kinds_of_views() -> None:
    bias = torch.randn(5)
    for a in _views(6, 7, 3):
        for b in _views(7, 5, 3):
            assert_agree(products.matmul(a, b), a @ b, 1e-5)
            assert_agree(products.matmul(a, b, bias), a @ b + bias, 1e-5)


@needs_onednn
@pytest.mark.usefixtures("always")
def test_onednn_is_never_given_a_part_of_a_larger_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take it, and fall back to plain loops."""
    seen: list[Tensor] = []
    operator = torch.ops.mkldnn._linear_pointwise

    def spy(x: Tensor, weight: Tensor, *rest: object) -> Tensor:
        seen.extend((x, weight))
        return operator(x, weight, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    parameter = nn.Parameter(torch.randn(4, 9))
    x = torch.randn(5, 9, requires_grad=True)
    products.linear(x[:, :7], parameter[:, :7]).sum().backward()  # its gradient is an expanded 1
    assert len(seen) == 6
    for matrix in seen:
        assert matrix.is_contiguous() or matrix.t().is_contiguous()


@needs_onednn
@pytest.mark.usefixtures("always")
def test_gradients_that_nobody_asks_for_are_not_computed(calls: list[tuple[int, ...]]) -> None:
    layer = products.Linear(7, 4).requires_grad_(False)
    layer(torch.randn(5, 7, requires_grad=True)).sum().backward()
    assert len(calls) == 2  # forward, and the gradient of the input
    layer.requires_grad_()(torch.randn(5, 7)).sum().backward()
    assert len(calls) == 4
    with torch.no_grad():
        assert not layer(torch.randn(5, 7)).requires_grad


@needs_onednn
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("transposed", [False, True])
def test_a_gradient_lies_as_its_weight_does(transposed: bool) -> None:
    parameter = nn.Parameter(torch.randn(7, 4) if transposed else torch.randn(4, 7))
    products.linear(torch.randn(5, 7), parameter.t() if transposed else parameter).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.is_contiguous()


@pytest.mark.usefixtures("always")
@pytest.mark.filterwarnings("ignore")  # torch's, of its own tracer and flags
def test_what_is_not_for_onednn(calls: list[tuple[int, ...]]) -> None:
    layer, x = products.Linear(7, 4), torch.randn(5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        layer(x)
    torch.jit.trace(layer, x, check_trace=False)
    products.Linear(7, 4).double()(x.double())
    products.matmul(x.double(), x.double().t())
    assert not calls
    with pytest.raises(RuntimeError):
        layer(x.double())


def test_small_products_stay_with_torch(calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_onednn_is_faster", lambda: True)
    products.Linear(7, 4)(torch.randn(5, 7))
    assert not calls


@needs_onednn
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("kind", ["autoencoder", "classifier"])
def test_whole_models_lose_no_more_digits(kind: str, calls: list[tuple[int, ...]]) -> None:
    """Outputs and gradients in float32, by torch's products and by oneDNN's, measured against float64."""
    if kind == "autoencoder":
        model: nn.Module = Autoencoder(**SMALL, prompts=3, teacher=backbone_spec(), prompt_dropout=0.0)
    else:
        model = Classifier(4, 8, 8, 24, 2, 2, drop_path=0.0, dropout=0.0)
    model.train()
    points = torch.randn(4, 40, 3)

    def run(dtype: torch.dtype, onednn: bool) -> Tensor:
        model.to(dtype).zero_grad()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatch, "_onednn_is_faster", lambda: onednn)
            patches = model.patchify(points.to(dtype))
            out = model(patches) if kind == "classifier" else model(patches, noise=False).fine
            out.square().mean().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return torch.cat([out.detach().flatten(), *gradients]).double()

    truth, plain = run(torch.float64, False), run(torch.float32, False)
    assert not calls
    error = (run(torch.float32, True) - truth).abs().max()
    assert len(calls) > 20
    assert error <= 4 * (plain - truth).abs().max() + 1e-6


@needs_onednn
@pytest.mark.parametrize(
    ("capability", "maker", "expected"),
    [
        ("AVX512", "AuthenticAMD", True),
        ("AVX2", "AuthenticAMD", True),
        ("DEFAULT", "AuthenticAMD", False),
        ("AVX512", "GenuineIntel", False),
    ],
)
def test_which_processors_are_better_off_with_onednn(
    capability: str, maker: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id : {maker}\n")
    monkeypatch.setattr(dispatch, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    dispatch._onednn_is_faster.cache_clear()
    try:
        assert dispatch._onednn_is_faster() is expected
    finally:
        dispatch._onednn_is_faster.cache_clear()

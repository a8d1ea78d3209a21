"""Patch embedding, graph network and folding decoder against their textbook forms, forward and backward."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from act3d.models import graph_network
from act3d.models.folding import FoldingDecoder
from act3d.models.graph_network import GraphNetwork, _group_norm, center_graph, group_norm_of_rows
from act3d.models.patch_embedding import PatchEmbedding
from benchmarks.textbook.geometry import knn as textbook_knn
from benchmarks.textbook.point_networks import DGCNN, Decoder, Encoder
from tests.helpers import assert_agree, compare, copy_weights, randomize


def pair(plain: torch.nn.Module, fast: torch.nn.Module, training: bool) -> tuple[torch.nn.Module, torch.nn.Module]:
    randomize(plain)
    fast.double()
    copy_weights(plain, fast)
    return plain.train(training), fast.train(training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("batch", "patches", "size"), [(2, 5, 8), (1, 1, 1), (3, 4, 32)])
def test_patch_embedding(training: bool, batch: int, patches: int, size: int) -> None:
    if training and batch * patches * size == 1:
        pytest.skip("batch statistics of one point")
    plain, fast = pair(Encoder(12), PatchEmbedding(12), training)
    compare(plain, fast, plain, fast, [torch.randn(batch, patches, size, 3, dtype=torch.float64)])


def test_patch_embedding_has_a_name_for_every_released_tensor() -> None:
    assert list(PatchEmbedding(384).state_dict()) == list(Encoder(384).state_dict())


@pytest.mark.parametrize(("patches", "hidden"), [(4, 1024), (9, 1024), (9, 96)])
@pytest.mark.parametrize("training", [False, True])
def test_graph_network(training: bool, patches: int, hidden: int) -> None:
    plain, fast = pair(DGCNN(12, 20, hidden), GraphNetwork(12, 20, hidden), training)
    centers = torch.randn(2, patches, 3, dtype=torch.float64)
    graph = center_graph(centers)
    compare(
        plain,
        fast,
        lambda x: plain(x, centers),
        lambda x: fast(x, graph),
        [torch.randn(2, patches, 12, dtype=torch.float64)],
    )


def test_the_graph_of_centers_holds_each_center_first() -> None:
    centers = torch.randn(2, 16, 3)
    graph = center_graph(centers)
    assert torch.equal(graph, textbook_knn(centers, centers, 4))
    assert torch.equal(graph[:, :, 0], torch.arange(16).expand(2, -1))


@pytest.mark.parametrize("patches", [1, 2, 3])
def test_a_graph_of_fewer_patches_than_neighbours(patches: int) -> None:
    found = GraphNetwork(8, 8)(torch.randn(2, patches, 8), center_graph(torch.randn(2, patches, 3)))
    assert found.shape == (2, patches, 8)
    assert torch.isfinite(found).all()


def test_graph_network_in_float32_is_as_good_as_the_textbook_form() -> None:
    """The split weights lose no more digits than the plain product does, measured against float64."""
    plain, fast = pair(DGCNN(64, 64), GraphNetwork(64, 64), False)
    features, centers = torch.randn(2, 16, 64, dtype=torch.float64), torch.randn(2, 16, 3, dtype=torch.float64)
    truth = plain(features, centers)
    plain.float()
    fast.float()
    error_plain = (plain(features.float(), centers.float()) - truth).abs().max()
    error_fast = (fast(features.float(), center_graph(centers.float())) - truth).abs().max()
    assert error_fast <= 4 * error_plain + 1e-6


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("size", "hidden"), [(4, 512), (32, 512), (32, 48)])
def test_folding_decoder(training: bool, size: int, hidden: int) -> None:
    plain, fast = pair(Decoder(12, size, hidden), FoldingDecoder(12, size, hidden), training)
    compare(plain, fast, plain, fast, [torch.randn(2, 5, 12, dtype=torch.float64)])


def test_folding_keeps_four_fine_points_beside_each_coarse_one() -> None:
    decoder = FoldingDecoder(8, 16).eval()
    torch.nn.init.zeros_(decoder.final_conv[6].weight)
    torch.nn.init.zeros_(decoder.final_conv[6].bias)
    coarse, fine = decoder(torch.randn(2, 3, 8))
    assert_agree(fine, coarse.repeat_interleave(4, dim=2), 1e-6)


def test_a_patch_size_that_is_no_multiple_of_four_is_refused() -> None:
    with pytest.raises(ValueError, match="30"):
        FoldingDecoder(8, 30)


def test_group_norm_of_rows_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form for CUDA, alone and in the whole network, forward and backward."""
    norm = nn.GroupNorm(4, 24).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    found: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    for results, function in ((found, group_norm_of_rows), (expected, _group_norm)):
        torch.manual_seed(0)
        x = (3 + torch.randn(2, 10, 24, dtype=torch.float64)).requires_grad_()
        y = function(norm, x)
        norm.zero_grad()
        (y * torch.randn_like(y)).sum().backward()
        results += [y, *(value.grad.clone() for value in (x, norm.weight, norm.bias))]
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    network = GraphNetwork(8, 8, 32).double()
    features, graph = torch.randn(2, 12, 8, dtype=torch.float64), center_graph(torch.randn(2, 12, 3))
    before = network(features, graph)
    monkeypatch.setattr(graph_network, "_group_norm", group_norm_of_rows)
    torch.testing.assert_close(network(features, graph), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_group_norm_of_rows_is_computed_in_float32(dtype: torch.dtype) -> None:
    norm, x = nn.GroupNorm(4, 24), torch.randn(2, 10, 24).to(dtype)
    y = group_norm_of_rows(norm, x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, group_norm_of_rows(norm, x.float()), rtol=0, atol=0)


def test_elsewhere_than_on_the_cpu_nothing_is_copied_into_images() -> None:
    """On a device without values: the network's operations do not contain torch's group norm."""
    names = []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            names.append(function.name())
            return function(*args, **(kwargs or {}))

    network = GraphNetwork(8, 8, 32).to("meta")
    with Names():
        network(torch.empty(2, 12, 8, device="meta"), torch.zeros(2, 12, 4, dtype=torch.int64, device="meta"))
    assert "aten::addcmul" in names
    assert not any("group_norm" in name for name in names)

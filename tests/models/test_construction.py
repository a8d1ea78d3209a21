"""Models built without memory (`torch.device("meta")`) and filled from a checkpoint, as loading does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from act3d.geometry import patchify
from act3d.models.autoencoder import Autoencoder
from act3d.models.folding import FoldingDecoder
from act3d.models.graph_network import GraphNetwork, center_graph
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.student import Student
from act3d.models.teachers import load_backbone
from act3d.models.transformer import Block
from tests.helpers import SMALL, backbone_spec

PATCHES = patchify(torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)), 8, 8)
FEATURES = torch.randn(2, 8, 24, generator=torch.Generator().manual_seed(1))
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], torch.Tensor]]] = {
    "patch embedding": (lambda: PatchEmbedding(24), lambda model: model(PATCHES.neighborhoods)),
    "graph network": (lambda: GraphNetwork(24, 8, 32), lambda model: model(FEATURES, center_graph(PATCHES.centers))),
    "folding decoder": (lambda: FoldingDecoder(24, 8, 16), lambda model: model(FEATURES).fine),
    "block": (lambda: Block(24, 2, layer_scale=True), lambda model: model(FEATURES, FEATURES[:1])),
    "backbone": (lambda: load_backbone("untrained:timm:beit_base_patch16_224"), lambda m: m(torch.ones(1, 2, 768))),
    "autoencoder": (
        lambda: Autoencoder(**SMALL, prompts=3, teacher=backbone_spec()),
        lambda model: model(PATCHES, noise=False).fine,
    ),
    "student": (
        lambda: Student(8, 8, 24, 1, 2, decoder_depth=1, decoder_heads=2, teacher_width=12),
        lambda model: model(PATCHES, torch.arange(8).expand(2, -1) > 4, 3).predicted,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_built_without_memory_equals_its_checkpoint(name: str) -> None:
    build, run = MODELS[name]
    real = build().eval()
    before = torch.get_rng_state()
    with torch.device("meta"):
        empty = build().eval()
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    assert torch.equal(torch.get_rng_state(), before)  # no random number is drawn for weights that are replaced
    empty.load_state_dict(real.state_dict(), assign=True)
    assert not any(tensor.is_meta for tensor in [*empty.parameters(), *empty.buffers()])
    assert [p.requires_grad for p in empty.parameters()] == [p.requires_grad for p in real.parameters()]
    with torch.no_grad():
        assert torch.equal(run(empty), run(real))

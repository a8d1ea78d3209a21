"""A start fitted to data: layers scaled and shifted so that what they give for a first batch of clouds is of use.

Weights as released start near zero (standard deviation 0.02) or at torch's defaults. Through the twenty layers of the
autoencoder, what sets one patch apart from another then sinks below what all patches share, and a short training ends
at one and the same patch for all. Here every channel of the layers that matter starts with mean 0 and a set deviation
over a batch (after Mishkin and Matas, "All you need is a good init", ICLR 2016; Salimans and Kingma, "Weight
normalization", NeurIPS 2016). Nothing else changes: same layers, same names, same arithmetic.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry import Patches, gather
from act3d.models.autoencoder import Autoencoder
from act3d.models.graph_network import GraphNetwork, center_graph
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.student import PointEncoder

_LEAST = 1e-6  # a channel that never moves cannot be scaled to move


@torch.no_grad()
def fit_autoencoder(model: Autoencoder, patches: Patches, temperature: float) -> None:
    """Fit a stage I model that has not been trained, in place, from its first layer to its last.

    Args:
        model: The autoencoder; its dropout and batch norms are used as in training.
        patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers of a batch, 16 clouds or more.
        temperature: At which training will start; codes are drawn without noise.
    """
    training = model.training
    model.train()
    graph = center_graph(patches.centers)
    _fit_embedding(model.patch_embedding, patches.neighborhoods)
    logits = _fit_graph_network(model.token_head, model.patch_embedding(patches.neighborhoods), graph)
    features = F.softmax(logits / temperature, dim=2) @ model.codebook
    if model.prompted is not None:
        # Code vectors are as long as the words that a language model reads: about 0.6 a channel in MiniLM.
        _fit_linear(model.prompted.proj_pre, features, 0.6)
        # The last projection is fitted to what it is given, which only the blocks before it can tell.
        given: list[torch.Tensor] = []
        handle = model.prompted.proj_post.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        model.transform(features, patches.centers)
        handle.remove()
        _fit_linear(model.prompted.proj_post, given[0], 1.0)
        features = model.prompted.proj_post(given[0])
    features = _fit_graph_network(model.feature_head, features, graph)
    hidden = features
    for layer in (model.decoder.mlp[0], model.decoder.mlp[2]):
        _fit_linear(cast(nn.Linear, layer), hidden, 1.0)
        hidden = F.relu(layer(hidden))
    # Points start as far from the center as those of real patches.
    _fit_linear(cast(nn.Linear, model.decoder.mlp[4]), hidden, float(patches.neighborhoods.std()))
    cast(nn.Conv1d, model.decoder.final_conv[6]).weight.mul_(0.1)
    model.train(training)


@torch.no_grad()
def fit_student(model: nn.Module, patches: Patches, embedding: bool = True) -> None:
    """Fit a masked student that has not been trained, in place: weights at 1/sqrt(inputs), tokens of deviation 1.

    The first layer of positions starts wide, so that it bends: near zero it is linear, and all positions of a cloud
    then lie in three dimensions of many.

    Args:
        model: A module with an `encoder` (`PointEncoder`), and perhaps a decoder with a `decoder_pos_embed`.
        patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers of a batch, 16 clouds or more.
        embedding: Fit the patch embedding too; False where it starts as somebody else's.
    """
    encoder = cast(PointEncoder, model.encoder)
    kept = set() if embedding else set(encoder.patch_embedding.modules())
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d) and module not in kept:
            _widen(module)
    training = encoder.training
    encoder.train()
    if embedding:
        _fit_embedding(encoder.patch_embedding, patches.neighborhoods)
    if encoder.reduce is not None:
        _fit_linear(encoder.reduce, encoder.patch_embedding(patches.neighborhoods), 1.0)
    encoder.train(training)
    _fit_positions(encoder.pos_embed, patches.centers)
    decoder_positions = getattr(model, "decoder_pos_embed", None)
    if decoder_positions is not None:
        _fit_positions(decoder_positions, patches.centers)


@torch.no_grad()
def fit_statistics(encoder: PointEncoder, batches: Iterable[Patches]) -> None:
    """Set the running averages of an encoder's batch norms to the mean over batches of patches, in place."""
    embedding = encoder.patch_embedding
    norms = [module for module in embedding.modules() if isinstance(module, nn.BatchNorm1d)]
    training = embedding.training
    momenta = [norm.momentum for norm in norms]
    embedding.train()
    for number, patches in enumerate(batches, start=1):
        for norm in norms:
            norm.momentum = 1 / number  # a plain mean over the batches so far
        embedding(patches.neighborhoods)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    embedding.train(training)


def _fit_positions(network: nn.Sequential, centers: torch.Tensor) -> None:
    """Fit a position network (3 -> hidden -> C) to centers (B, G, 3)."""
    first, bend, last = network
    nn.init.normal_(cast(nn.Linear, first).weight)
    nn.init.uniform_(cast(nn.Linear, first).bias, -1, 1)
    _fit_linear(cast(nn.Linear, last), bend(first(centers)), 1.0)


def _widen(layer: nn.Linear | nn.Conv1d) -> None:
    """Truncated normal of deviation 1/sqrt(inputs): what comes out is as large as what goes in."""
    deviation = layer.weight[0].numel() ** -0.5
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def _fit_linear(layer: nn.Linear | nn.Conv1d, inputs: torch.Tensor, deviation: float) -> None:
    """Scale and shift a layer so that its channels have mean 0 and this deviation on inputs (..., C_in)."""
    assert layer.bias is not None
    _set_channels(layer, F.linear(inputs, layer.weight.flatten(1), layer.bias), deviation)


def _fit_embedding(embedding: PatchEmbedding, neighborhoods: torch.Tensor) -> None:
    """Its norms look after the inner layers; the last one comes after them."""
    _set_channels(cast(nn.Conv1d, embedding.second_conv[3]), embedding(neighborhoods), 1.0)


def _set_channels(layer: nn.Linear | nn.Conv1d, outputs: torch.Tensor, deviation: float) -> None:
    """Change a layer that gives outputs (..., C); a maximum may stand between the two, as it follows scales above 0."""
    assert layer.bias is not None
    rows = outputs.flatten(0, -2)
    scale = deviation / rows.std(dim=0).clamp_min(_LEAST)
    layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.copy_((layer.bias - rows.mean(dim=0)) * scale)


def _fit_graph_network(network: GraphNetwork, features: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
    """Center and scale what every norm of a graph network gives; return its output: (B, G, C_in) -> (B, G, C_out)."""
    x = network.input_trans(features.transpose(1, 2)).transpose(1, 2)
    outputs = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        near = gather(x, neighbors)  # (B, G, k, C)
        edges = torch.cat([near - x.unsqueeze(2), x.unsqueeze(2).expand_as(near)], dim=3)
        x = _fit_norm(layer, edges.permute(0, 3, 1, 2)).amax(dim=3).transpose(1, 2)
        outputs.append(x)
    return _fit_norm(network.layer5, torch.cat(outputs, dim=2).transpose(1, 2)).transpose(1, 2)


def _fit_norm(layer: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Convolution, group norm with its scales and shifts set, leaky ReLU: channels second in x and in the result."""
    convolution, norm, bend = layer[0], cast(nn.GroupNorm, layer[1]), layer[2]
    y = F.group_norm(convolution(x), norm.num_groups, eps=norm.eps).transpose(0, 1).flatten(1)  # (C, rows)
    scale = y.std(dim=1).clamp_min(_LEAST).reciprocal()
    norm.weight.copy_(scale)
    norm.bias.copy_(-y.mean(dim=1) * scale)
    result: torch.Tensor = bend(norm(convolution(x)))
    return result

"""Data-dependent initialization: weights scaled and shifted by the outputs of their layers for a first batch of clouds.

Released initializations start near zero (standard deviation 0.02) or at torch's defaults. Through the twenty layers of
the autoencoder, the differences between patches then become small against what all patches share, and a short training
ends with the same patch everywhere. Here every channel of the layers that matter starts with mean 0 and a set standard
deviation over a batch (after Mishkin and Matas, "All you need is a good init", ICLR 2016; Salimans and Kingma, "Weight
normalization", NeurIPS 2016). Layers, names and arithmetic stay the same.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry import Patches, gather
from act3d.models.autoencoder import Autoencoder
from act3d.models.encoder import PointEncoder
from act3d.models.folding import FoldingDecoder
from act3d.models.graph_network import GraphNetwork, center_graph
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.prompting import PromptedTransformer

_SMALLEST_STD = 1e-6  # a channel that is constant over the batch cannot be scaled
# Code vectors are as large as the words that a language model reads: about 0.6 a channel in MiniLM.
_CODE_VECTOR_STD = 0.6


@torch.no_grad()
def fit_autoencoder(model: Autoencoder, patches: Patches, temperature: float) -> None:
    """Initialize a stage I model on a batch, in place, from its first layer to its last.

    Args:
        model: The autoencoder; its dropout and batch norms are used as in training.
        patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers of a batch, 16 clouds or more.
        temperature: The temperature at the start of training; codes are soft, without noise.
    """
    training = model.training
    model.train()
    graph = center_graph(patches.centers)
    _fit_embedding(model.patch_embedding, patches.neighborhoods)
    logits = _fit_graph_network(model.token_head, model.patch_embedding(patches.neighborhoods), graph)
    features = F.softmax(logits / temperature, dim=2) @ model.codebook
    if model.prompted is not None:
        features = _fit_prompted(model.prompted, features, patches.centers)
    features = _fit_graph_network(model.feature_head, features, graph)
    # Coarse points start as far from the center as those of real patches.
    _fit_decoder(model.decoder, features, float(patches.neighborhoods.std()))
    model.train(training)


@torch.no_grad()
def fit_student(model: nn.Module, patches: Patches, keep: Iterable[nn.Module] = ()) -> None:
    """Initialize a masked student on a batch, in place: weights at 1/sqrt(inputs), tokens of standard deviation 1.

    The first layer of positions starts wide, so that its activation is not linear: near zero it is, and then all
    positions of a cloud vary in only three dimensions.

    Args:
        model: A module with an `encoder` (`PointEncoder`), and perhaps a decoder with a `decoder_pos_embed`.
        patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers of a batch, 16 clouds or more.
        keep: Parts of the module whose weights come from a checkpoint: they stay.
    """
    encoder = cast(PointEncoder, model.encoder)
    kept = {module for part in keep for module in part.modules()}
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d) and module not in kept:
            _widen(module)
    training = encoder.training
    encoder.train()
    if encoder.patch_embedding not in kept:
        _fit_embedding(encoder.patch_embedding, patches.neighborhoods)
    if encoder.reduce is not None and encoder.reduce not in kept:
        _fit_linear(encoder.reduce, encoder.patch_embedding(patches.neighborhoods), 1.0)
    encoder.train(training)
    if encoder.pos_embed not in kept:
        _fit_positions(encoder.pos_embed, patches.centers)
    decoder_positions = getattr(model, "decoder_pos_embed", None)
    if decoder_positions is not None:
        _fit_positions(decoder_positions, patches.centers)


@torch.no_grad()
def fit_statistics(encoder: PointEncoder, batches: Iterable[Patches]) -> None:
    """Set the running averages of an encoder's batch norms to their mean over batches of patches, in place."""
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


def _fit_embedding(embedding: PatchEmbedding, neighborhoods: torch.Tensor) -> None:
    """Initialize the last layer of a patch embedding; the batch norms scale the layers before it."""
    _scale_channels(embedding.last_layer, embedding(neighborhoods), 1.0)


def _fit_prompted(prompted: PromptedTransformer, features: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Initialize both projections around the backbone; return the outputs of the last: (B, G, C) -> (B, G, C)."""
    _fit_linear(prompted.proj_pre, features, _CODE_VECTOR_STD)
    inputs: list[torch.Tensor] = []  # of the last projection, after the blocks
    hook = prompted.proj_post.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    prompted(features, centers)
    hook.remove()
    _fit_linear(prompted.proj_post, inputs[0], 1.0)
    return prompted.proj_post(inputs[0])


def _fit_graph_network(network: GraphNetwork, features: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
    """Initialize every norm of a graph network; return its output: (B, G, C_in) -> (B, G, C_out)."""
    x = network.input_trans(features.transpose(1, 2)).transpose(1, 2)
    outputs = []
    for layer in network.edge_layers:
        near = gather(x, neighbors)  # (B, G, k, C)
        edges = torch.cat([near - x.unsqueeze(2), x.unsqueeze(2).expand_as(near)], dim=3)
        x = _fit_normed_layer(layer, edges.permute(0, 3, 1, 2)).amax(dim=3).transpose(1, 2)
        outputs.append(x)
    return _fit_normed_layer(network.layer5, torch.cat(outputs, dim=2).transpose(1, 2)).transpose(1, 2)


def _fit_normed_layer(layer: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Initialize the norm in [convolution, norm, leaky ReLU]; return the output: (B, C, ...) -> (B, C_out, ...)."""
    convolution, norm, activation = layer[0], cast(nn.GroupNorm, layer[1]), layer[2]
    y = F.group_norm(convolution(x), norm.num_groups, eps=norm.eps).transpose(0, 1).flatten(1)  # (C_out, rows)
    scale = y.std(dim=1).clamp_min(_SMALLEST_STD).reciprocal()
    norm.weight.copy_(scale)
    norm.bias.copy_(-y.mean(dim=1) * scale)
    result: torch.Tensor = activation(norm(convolution(x)))
    return result


def _fit_decoder(decoder: FoldingDecoder, features: torch.Tensor, spread: float) -> None:
    """Initialize a folding decoder so that coarse points have the standard deviation `spread`; features (B, G, C)."""
    x = features
    for layer in decoder.mlp:
        if isinstance(layer, nn.Linear):
            _fit_linear(layer, x, spread if layer is decoder.mlp[-1] else 1.0)
        x = layer(x)
    decoder.last_layer.weight.mul_(0.1)  # fine points start close to their coarse ones


def _fit_positions(network: nn.Sequential, centers: torch.Tensor) -> None:
    """Initialize a position network (3 -> hidden -> C) on centers (B, G, 3)."""
    first, activation, last = network
    nn.init.normal_(cast(nn.Linear, first).weight)
    nn.init.uniform_(cast(nn.Linear, first).bias, -1, 1)
    _fit_linear(cast(nn.Linear, last), activation(first(centers)), 1.0)


def _widen(layer: nn.Linear | nn.Conv1d) -> None:
    """Truncated normal of standard deviation 1/sqrt(inputs): outputs are as large as inputs."""
    std = layer.weight[0].numel() ** -0.5
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)


def _fit_linear(layer: nn.Linear | nn.Conv1d, inputs: torch.Tensor, std: float) -> None:
    """Scale and shift a layer so that its channels have mean 0 and this standard deviation on inputs (..., C_in)."""
    assert layer.bias is not None
    _scale_channels(layer, F.linear(inputs, layer.weight.flatten(1), layer.bias), std)


def _scale_channels(layer: nn.Linear | nn.Conv1d, outputs: torch.Tensor, std: float) -> None:
    """Scale and shift a layer by what it gives, outputs (..., C), or by a maximum over that: scales are above 0."""
    assert layer.bias is not None
    rows = outputs.flatten(0, -2)
    scale = std / rows.std(dim=0).clamp_min(_SMALLEST_STD)
    layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.copy_((layer.bias - rows.mean(dim=0)) * scale)

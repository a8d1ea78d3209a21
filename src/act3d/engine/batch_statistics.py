"""Batch statistics for runs that are too short for running averages.

A batch norm's running averages start at mean 0 and variance 1, and forget that by (1 - momentum) a step. While weights
still change fast they lag behind as well. In a short run they say little about the data, and a classifier that is right
on training batches fails on the test set. Averages over all training clouds, by the weights as they are, are exact
(Wu and Johnson, "Rethinking Batch in BatchNorm", 2021, section 3).
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

LEFT = 1e-6  # share of the initial averages that may be left: 131 steps at torch's momentum of 0.1


def trained_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms whose averages training moves: not those of frozen parts, which stay in eval mode."""
    training = model.training
    model.train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    model.train(training)
    return norms


def unsettled(model: nn.Module, steps: int) -> bool:
    """Tell whether a run of so many steps is too short for the running averages of its batch norms."""
    momenta = [norm.momentum for norm in trained_norms(model) if norm.momentum is not None]
    return any((1 - momentum) ** steps > LEFT for momentum in momenta)


@torch.no_grad()
def estimate_statistics(model: nn.Module, passes: Iterable[Callable[[], object]]) -> None:
    """Set the averages of the model's batch norms to their mean over forward passes, with all else in eval mode.

    Args:
        model: left in the mode that it is in.
        passes: each runs the model on a batch of training clouds.
    """
    norms, training = trained_norms(model), model.training
    before = [(norm.momentum, copy.deepcopy(norm.num_batches_tracked)) for norm in norms]
    model.eval()
    for number, forward in enumerate(passes, start=1):
        for norm in norms:
            norm.train()
            norm.momentum = 1 / number  # a plain mean over the batches so far
        forward()
    for norm, (momentum, tracked) in zip(norms, before, strict=True):
        norm.momentum, norm.num_batches_tracked = momentum, tracked  # which counts steps: these are none
    model.train(training)

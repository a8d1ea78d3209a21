"""Checks of the point clouds that a function is given."""

import math

import torch

from act3d.errors import InputError


def check_points(points: torch.Tensor, name: str = "points", at_least: int = 1) -> None:
    """Raise InputError unless points are a float batch (B, N, 3) with N >= `at_least` finite points.

    Coordinates are only checked on the CPU and outside compiled code: on a GPU the host would wait for the device in
    every training step (datasets check their clouds once, when they are read).
    """
    shape = tuple(points.shape)
    if points.ndim != 3 or shape[-1] != 3:
        raise InputError(f"{name} has shape {shape}; expected (B, N, 3)")
    if not points.is_floating_point():
        raise InputError(f"{name} has dtype {points.dtype}; expected float32 or float64")
    if shape[0] == 0 or shape[1] == 0:
        raise InputError(f"{name} is empty: shape {shape}; expected at least one cloud and one point")
    if shape[1] < at_least:
        raise InputError(f"{name} has shape {shape}: {shape[1]} points a cloud, but {at_least} are needed")
    if points.device.type != "cpu" or torch.compiler.is_compiling():
        return
    # One sum is quicker than a look at every number, and finite only if they all are; large ones may overflow it.
    if not math.isfinite(points.detach().sum()) and not torch.isfinite(points).all():
        cloud = int((~torch.isfinite(points)).any(dim=2).any(dim=1).nonzero()[0])
        raise InputError(f"{name} has NaN or infinite coordinates (first in cloud {cloud} of the batch)")


def check_count(count: int, available: int, name: str, what: str) -> None:
    """Raise InputError unless a count is 1 to `available`; `name` and `what` are for the message."""
    if not 1 <= count <= available:
        raise InputError(f"{name} = {count}; allowed are 1 to {available} ({what})")

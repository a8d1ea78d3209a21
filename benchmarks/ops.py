"""Every operation of `act3d.geometry` at the released sizes, against its textbook form."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from act3d import geometry
from benchmarks.measure import Work
from benchmarks.neighbors import by_cdist
from benchmarks.textbook import geometry as textbook

BATCH = 8


class Operation(NamedTuple):
    """One operation: its name and the two works on the same input."""

    name: str
    textbook: Work
    ours: Work


def _cloud(batch: int, number: int, device: torch.device) -> Tensor:
    return torch.randn(batch, number, 3, generator=torch.Generator().manual_seed(number)).to(device)


def _with_gradient(distance: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Work:
    a = a.clone().requires_grad_()

    def both() -> None:
        (gradient,) = torch.autograd.grad(distance(a, b), a)
        del gradient

    return both


def operations(device: torch.device, batch: int = BATCH) -> list[Operation]:
    """Sampling, neighbours, patches, interpolation, distances."""
    found = []
    for number, count in ((1024, 64), (2048, 128), (8192, 512), (8192, 1024)):
        points = _cloud(batch, number, device)
        found.append(
            Operation(
                f"sample_{number}_{count}",
                partial(textbook.farthest_point_sample, points, count),
                partial(geometry.farthest_point_sample, points, count),
            )
        )
    for queries, number, k in ((64, 1024, 32), (128, 2048, 32), (512, 8192, 32), (64, 64, 4)):
        points = _cloud(batch, number, device)
        query = points[:, :queries].contiguous()
        found.append(
            Operation(
                f"knn_{queries}_{number}_k{k}",
                partial(by_cdist, query, points, k),  # the textbook sorts all
                partial(geometry.knn, query, points, k),
            )
        )
    points = _cloud(batch, 1024, device)
    found.append(
        Operation("patchify_1024", lambda: textbook.group(points, 64, 32), lambda: geometry.patchify(points, 64, 32))
    )
    scene, features = _cloud(batch, 2048, device), torch.randn(batch, 128, 1152).to(device)
    centers = scene[:, :128].contiguous()
    found.append(
        Operation(
            "interpolate_128_2048",
            lambda: textbook.interpolate(scene, centers, features),
            lambda: geometry.interpolate(scene, centers, features),
        )
    )
    a, b = _cloud(64 * batch, 32, device), _cloud(64 * batch, 32, device).roll(1, 0)
    found.append(
        Operation(
            f"chamfer_{64 * batch}x32x32",
            _with_gradient(textbook.chamfer_l1, a, b),
            _with_gradient(geometry.chamfer, a, b),
        )
    )
    rebuilt = _cloud(batch, 2048, device)
    found.append(
        Operation(
            "f_score_2048_1024",
            lambda: textbook.f_score(rebuilt, points),
            lambda: geometry.f_score(rebuilt, points),
        )
    )
    return found

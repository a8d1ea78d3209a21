"""k nearest neighbors on the CPU against what else one would call: torch's cdist and topk, SciPy's k-d tree."""

import functools
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from act3d import geometry
from benchmarks.measure import interleave

SIZES = ((64, 64, 4), (64, 1024, 32), (128, 2048, 32), (512, 8192, 32))  # queries, points, neighbors
BATCHES = (1, 8, 32)


def by_cdist(query: Tensor, points: Tensor, k: int) -> Tensor:
    """Distances of all pairs, then the smallest: (B, Q, 3), (B, N, 3) -> (B, Q, k), ties in any order."""
    return torch.cdist(query, points).topk(k, dim=2, largest=False).indices


def by_columns(query: Tensor, points: Tensor, k: int) -> Tensor:
    """The same with points in rows, as openpoints does it: -> (B, k, Q)."""
    return torch.cdist(points, query).topk(k, dim=1, largest=False).indices


def by_scipy(query: Tensor, points: Tensor, k: int) -> Tensor:
    """A k-d tree of SciPy's own settings for each cloud."""
    pairs = zip(query.numpy(), points.numpy(), strict=True)
    return torch.from_numpy(np.stack([cKDTree(cloud).query(asked, k)[1] for asked, cloud in pairs]))


FORMS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "ours": geometry.knn,
    "cdist": by_cdist,
    "openpoints": by_columns,
    "scipy": by_scipy,
}


def rows(wanted: str, repeats: int, clock: str) -> Iterator[dict[str, Any]]:
    """Every size and batch: seconds of all forms in turn, and the best other form's over ours."""
    for queries, number, k in SIZES:
        for batch in BATCHES:
            name = f"neighbors_{queries}_{number}_k{k}_b{batch}"
            if wanted in name:
                yield {"name": name, "group": "neighbors", **_measure(batch, queries, number, k, repeats, clock)}


def _measure(batch: int, queries: int, number: int, k: int, repeats: int, clock: str) -> dict[str, Any]:
    points = torch.randn(batch, number, 3, generator=torch.Generator().manual_seed(number))
    query = points[:, :queries].contiguous()
    often = max(1, (1 << 20) // (batch * queries * number))  # short works several times

    def repeat(form: Callable[[Tensor, Tensor, int], Tensor]) -> None:
        for _ in range(often):
            form(query, points, k)

    works = [functools.partial(repeat, form) for form in FORMS.values()]
    times = dict(zip(FORMS, interleave(works, repeats, torch.device("cpu"), clock), strict=True))
    best = [min(others) for others in zip(*(times[name] for name in FORMS if name != "ours"), strict=True)]
    ratios = [other / own for other, own in zip(best, times["ours"], strict=True)]
    seconds = {f"{name}_s": statistics.median(values) / often for name, values in times.items()}
    return {**seconds, "ratio": statistics.median(ratios), "spread": (max(ratios) - min(ratios)) / min(ratios)}


def show(row: dict[str, Any]) -> str:
    """One line of the table."""
    times = "".join(f"{name} {1000 * row[f'{name}_s']:>9.3f} ms  " for name in FORMS)
    return f"{row['name']:<30}{times}best other / ours {row['ratio']:.2f} ({row['spread']:.0%})"

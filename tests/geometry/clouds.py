"""Clouds that break careless geometry, as hypothesis strategies."""

import torch
from hypothesis import strategies as st
from torch import Tensor

KINDS = ("gaussian", "grid", "duplicates", "one_place", "collinear", "planar", "clusters", "sphere")


def make_cloud(kind: str, batch: int, number: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A batch of clouds of one kind, around the origin, of about unit size. (B, N, 3)."""
    g = torch.Generator().manual_seed(seed)
    points = torch.randn(batch, number, 3, generator=g, dtype=torch.float64)
    if kind == "grid":  # integers: many exact ties
        points = torch.randint(-2, 3, (batch, number, 3), generator=g).double()
    elif kind == "duplicates":
        points = points[:, torch.randint(max(1, number // 3), (number,), generator=g)]
    elif kind == "one_place":
        points = points[:, :1].expand(-1, number, -1).clone()
    elif kind == "collinear":
        points = points[:, :, :1] * torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    elif kind == "planar":
        points[:, :, 1] = 0.25
    elif kind == "clusters":  # two tight ones far apart: the product form of the distance cancels
        side = torch.where(torch.arange(number) % 2 == 0, 1.0, -1.0).double()
        points = points * 1e-5 + side[None, :, None]
    elif kind == "sphere":
        points = points / points.norm(dim=2, keepdim=True)
    return points.to(dtype)


def clouds(min_points: int = 1, max_points: int = 40, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)):
    """Strategy: a batch of clouds of any kind, scale (1e-6 to 1e6) and place."""
    return st.builds(
        lambda kind, batch, number, seed, dtype, scale, shift: (
            make_cloud(kind, batch, number, seed, dtype) * scale + shift
        ),
        st.sampled_from(KINDS),
        st.integers(1, 3),
        st.integers(min_points, max_points),
        st.integers(0, 10_000),
        st.sampled_from(dtypes),
        st.sampled_from((1.0, 1e-6, 1e6, 0.37)),
        st.sampled_from((0.0, 100.0)),
    )

"""Random draws from the exponential distribution."""

import torch

from act3d.kernels.dispatch import prefers_bulk_draws


def exponential_like(x: torch.Tensor) -> torch.Tensor:
    """Draws from the exponential distribution, of the shape, dtype and device of x: the same as of `exponential_`."""
    if not prefers_bulk_draws(x):
        return torch.empty_like(x).exponential_()
    return torch.rand(x.shape, dtype=torch.float64).neg_().log1p_().neg_().to(x.dtype)  # -log(1 - u), as torch does

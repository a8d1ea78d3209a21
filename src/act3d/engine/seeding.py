"""Randomness that a resumed run repeats: every step starts from a seed of its own."""

import torch

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Return a 63-bit number that depends on every argument and their order (splitmix64's finaliser)."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state = ((state ^ (state >> 31)) + 0x9E3779B97F4A7C15) & _MASK
    return state >> 1


def reseed(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch on all devices by (seed, step, rank), so that what a step draws does not depend on earlier ones."""
    torch.manual_seed(mix(seed, step, rank))

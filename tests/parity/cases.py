"""Reading a parity case: its released file, its numbers, and how close an array must come."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("parity_weights", HERE / "weights.py")
assert _spec is not None
assert _spec.loader is not None
weights = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(weights)


def numbers(name: str) -> dict[str, Any]:
    """Inputs and expected outputs of a case, as tensors."""
    with np.load(HERE / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def released(name: str) -> dict[str, Any]:
    """The content of the released file of a case."""
    return weights.state_dict(HERE / f"{name}.json")


def state(name: str) -> dict[str, torch.Tensor]:
    """The bare weights of a case, under the names of the released modules."""
    case = json.loads((HERE / f"{name}.json").read_text())
    return {k.removeprefix(case["prefix"]): v for k, v in released(name)[case["wrapper"]].items()}


def assert_parity(found: torch.Tensor, expected: torch.Tensor, what: str, tolerance: float = 1e-3) -> None:
    """The first entries of `found` are the expected ones, to a tolerance relative to the largest."""
    first = found[tuple(slice(0, size) for size in expected.shape)].detach()
    assert first.shape == expected.shape, f"{what}: {tuple(found.shape)} is smaller than {tuple(expected.shape)}"
    worst, largest = (first - expected).abs().max().item(), expected.abs().max().item()
    assert worst <= tolerance * largest, f"{what}: off by {worst:.3g}, the largest value is {largest:.3g}"

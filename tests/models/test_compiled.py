"""`--trainer.compile`: a compiled model gives what it gives without, forward and backward."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from act3d.models.student import Student
from tests.helpers import assert_agree, run_interpreted


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_models_with_kernels_are_one_graph() -> None:
    run_interpreted(Path(__file__).parent / "interpreted_graphs.py")


@pytest.mark.slow
def test_a_compiled_student_learns_the_same() -> None:
    plain = Student(patches=8, patch_size=8, width=24, depth=1, heads=2, decoder_depth=1, decoder_heads=2, drop_path=0)
    fast = copy.deepcopy(plain)
    fast.compile()
    patches = plain.patchify(torch.randn(2, 40, 3))
    mask = torch.arange(8).expand(2, -1) >= 3
    results = [model(patches, mask, 5) for model in (plain, fast)]
    assert_agree(results[1].predicted, results[0].predicted, 1e-4)
    for result in results:
        result.predicted.square().sum().backward()
    named = dict(fast.named_parameters())
    # the largest gradient sets the scale: biases before a batch norm have none but rounding
    largest = max(p.grad.abs().max().item() for p in plain.parameters() if p.grad is not None)
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            assert (named[name].grad - parameter.grad).abs().max() <= 1e-4 * largest, name

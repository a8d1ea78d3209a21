"""Numbers that steps report."""

import torch

from act3d.engine.tally import Tally


def test_what_was_reported_may_be_overwritten_by_the_next_step() -> None:
    """With CUDA graphs every step writes its results into the same memory."""
    tally, loss = Tally(["a"]), torch.zeros(())
    for value in (1.0, 2.0, float("nan"), 6.0):
        loss.fill_(value)
        if value == value:
            tally.add({"loss": loss}, torch.tensor([0]), 0)
    tally.check_finite()
    assert tally.take_means() == {"loss": 3.0}
